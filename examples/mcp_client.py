"""Start the MCP server as a host does, list its tools and generate an image."""

import asyncio

from mcp import Client, StdioServerParameters

SERVER = StdioServerParameters(command="vllm-image-mcp", args=["--demo", "--output-dir", "pictures"])


async def main() -> None:
    """Talk to the server over stdin and stdout."""
    async with Client(SERVER) as client:
        listed = await client.list_tools()
        print(", ".join(tool.name for tool in listed.tools))
        result = await client.call_tool("generate_image", {"prompt": "a red fox in the snow", "seed": 7})
    print(result.structured_content)


asyncio.run(main())
