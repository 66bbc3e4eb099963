/** The least that a proxy in Node can cost: a server, and a dispatch handler that writes to the response. No logic. */

import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import { announce } from './processes.ts';

const [, , origin = ''] = process.argv;
const agent = new Agent({ connections: null, pipelining: 1 });

function pipe({ method = '', url = '', rawHeaders }: IncomingMessage, response: ServerResponse, body: Buffer): void {
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart() {},
    onResponseStart(_controller, status, headers) {
      response.writeHead(status, headers);
      // The first event may come much later than the head.
      if (headers['content-type'] === 'text/event-stream') response.flushHeaders();
    },
    onResponseData(controller, chunk) {
      if (response.write(chunk)) return;
      controller.pause();
      response.once('drain', () => controller.resume());
    },
    onResponseEnd: () => void response.end(),
    onResponseError: () => void response.destroy(),
  };
  agent.dispatch({ origin, path: url, method, headers: rawHeaders, body }, handler);
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => pipe(request, response, Buffer.concat(chunks)));
});
announce(server);
