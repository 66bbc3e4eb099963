"""FastMCP's client: client_fastmcp.py URL MODE."""

import asyncio
import sys

from fastmcp import Client

from lines import serve


async def main():
    async with Client(sys.argv[1], mode=sys.argv[2]) as client:
        await client.list_tools()
        await serve(client)


asyncio.run(main())
