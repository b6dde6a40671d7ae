"""Run the command line with ``python -m vllm_image_mcp``."""

from vllm_image_mcp.cli import main

if __name__ == "__main__":
    main(prog_name="vllm-image-mcp")
