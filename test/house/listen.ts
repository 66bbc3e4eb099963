/** A server of a test's own. */

import { type RequestListener, type Server, createServer } from 'node:http';
import { onTestFinished } from 'vitest';

/** On a free port of loopback, until the test is over. */
export async function listen(listener: RequestListener): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return { server, port: typeof address === 'object' && address ? address.port : 0 };
}
