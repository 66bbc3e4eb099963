/** Loaded into the proxy's process before it: says on request what it holds, garbage collected. */

process.on('message', () => {
  globalThis.gc?.();
  const resources = process.getActiveResourcesInfo();
  process.send?.({
    heap: process.memoryUsage().heapUsed + process.memoryUsage().external,
    sockets: resources.filter((kind) => kind === 'TCPSocketWrap').length,
  });
});
// What it holds is not to be held by this.
process.channel?.unref();
