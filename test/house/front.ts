/** A load balancer without stickiness, as small as can be: each request goes to the next origin. */

import { createServer, request as ask } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Front = { readonly url: string; close(): Promise<void> };

/** How long the next hop keeps a connection says nothing of this one: a client that believes it meets a closed one. */
const isNotOfOneHop = (_: string, at: number, fields: readonly string[]): boolean =>
  fields[at - (at % 2)]?.toLowerCase() !== 'keep-alive';

/** Before the MCP endpoint of `origins`, in turn. */
export async function startFront(origins: readonly string[]): Promise<Front> {
  let turn = 0;
  const server = createServer((request, response) => {
    turn += 1;
    const to = new URL(request.url ?? '/', origins[turn % origins.length]);
    const { method, headers } = request;
    const forwarded = ask(to, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders.filter(isNotOfOneHop));
      response.flushHeaders();
      answer.pipe(response);
      answer.once('error', () => response.destroy());
    });
    forwarded.once('error', () => response.destroy());
    response.once('close', () => forwarded.destroy());
    request.pipe(forwarded);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on a port, not on a pipe
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
