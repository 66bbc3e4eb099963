/** Proxies of one process that hear each other. */

import type { Answers, JsonObject, Peers } from '../../proxy/contract.ts';

type Handler = Parameters<Peers['on']>[1];

/** Proxies that hear each other at once; `complete` is what those say who answer. */
export function newNetwork() {
  const proxies: Map<string, Handler>[] = [];
  return (complete = true): Peers => {
    const own = new Map<string, Handler>();
    proxies.push(own);
    const others = () => proxies.filter((one) => one !== own);
    const all = (topic: string, message: JsonObject) =>
      Promise.all(others().map(async (one) => (await one.get(topic)?.(message)) ?? {}));
    return {
      ask: async (topic, message): Promise<Answers> => ({ answers: await all(topic, message), complete }),
      tell: (topic, message) => void all(topic, message),
      on(topic, f) {
        own.set(topic, f);
        return () => void own.delete(topic);
      },
      close() {},
    };
  };
}
