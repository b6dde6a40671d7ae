"""Pictures made small, for an assistant or a person to see."""
