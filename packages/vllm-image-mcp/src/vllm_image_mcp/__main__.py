"""``python -m vllm_image_mcp``: the command line, as ``vllm-image-mcp`` starts it."""

from vllm_image_mcp.cli.main import main

if __name__ == "__main__":
    main(prog_name="vllm-image-mcp")
