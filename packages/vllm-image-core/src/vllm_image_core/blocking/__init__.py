"""Use a studio without `await`: in scripts, at a prompt, from R, and in notebooks."""
