"""Calls a tool for each line {"tool", "args"} on stdin, and writes {"text"} or {"error"} for each."""

import asyncio
import json
import sys


async def serve(client):
    print(json.dumps({"text": "ready"}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        call = json.loads(line)
        try:
            result = await client.call_tool(call["tool"], call["args"])
            print(json.dumps({"text": " ".join(part.text for part in result.content)}), flush=True)
        except Exception as error:
            print(json.dumps({"error": str(error)}), flush=True)
