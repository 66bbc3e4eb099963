/** A server that offers all that the conformance suite asks for, stateful and resumable, as a process of its own. */

import { randomUUID } from 'node:crypto';
import { localhostHostValidation } from '@modelcontextprotocol/sdk/server/middleware/hostHeaderValidation.js';
import { type EventStore, StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { type JSONRPCMessage, isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import express, { type Request, type Response } from 'express';
import { newEverything } from './everything-offers.ts';

/** Milliseconds until a client whose stream was closed should ask again. */
const RETRY_MS = 200;

const sessions = new Map<string, StreamableHTTPServerTransport>();

/** The events of one session; an id is the event's place in it. */
function newEvents(): EventStore {
  const events: { readonly streamId: string; readonly message: JSONRPCMessage }[] = [];
  const streamOf = (id: string) => events[Number(id)]?.streamId;
  return {
    storeEvent: async (streamId, message) => String(events.push({ streamId, message }) - 1),
    getStreamIdForEventId: async (id) => streamOf(id),
    async replayEventsAfter(id, { send }) {
      const stream = streamOf(id);
      if (stream === undefined) throw new Error(`No event has the id ${id}`);
      const first = Number(id) + 1;
      for (const [at, { streamId, message }] of events.slice(first).entries()) {
        // A priming event is stored as an empty message; there is nothing in it to send again.
        if (streamId === stream && 'jsonrpc' in message) await send(String(first + at), message);
      }
      return stream;
    },
  };
}

async function open(request: Request, response: Response): Promise<void> {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: newEvents(),
    retryInterval: RETRY_MS,
    onsessioninitialized: (id) => void sessions.set(id, transport),
    onsessionclosed: (id) => void sessions.delete(id),
  });
  await newEverything().connect(transport);
  await transport.handleRequest(request, response, request.body);
}

async function serve(request: Request, response: Response): Promise<void> {
  const id = request.get('mcp-session-id');
  if (id === undefined && isInitializeRequest(request.body)) return open(request, response);
  const transport = sessions.get(id ?? '');
  if (transport !== undefined) return transport.handleRequest(request, response, request.body);
  const [status, code, message] =
    id === undefined ? [400, -32_000, 'Mcp-Session-Id is required'] : [404, -32_001, 'Session not found'];
  response.status(status).json({ jsonrpc: '2.0', id: null, error: { code, message } });
}

const app = express();
app.all('/mcp', localhostHostValidation(), express.json(), (request, response, next) => {
  void serve(request, response).then(undefined, next);
});
app.listen(Number(process.env['PORT']), '127.0.0.1');
