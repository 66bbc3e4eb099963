/** Who handles which topic of the other proxies' messages: bounded in number and time. */

import { asError } from '../as-error.ts';
import type { JsonObject, Peers } from '../contract.ts';
import type { Telemetry } from '../events.ts';

/** Messages that are handled at the same time; more are dropped. */
const MOST = 1_024;
/** Milliseconds after which a handler counts as stuck: its place is given to others. */
const STUCK = 30_000;

type Handler = { readonly call: Parameters<Peers['on']>[1] };

export type Topics = {
  readonly on: Peers['on'];
  /** The answer, or undefined: there is none in time. Never rejects. */
  readonly handle: (topic: string, message: JsonObject) => Promise<JsonObject | undefined>;
  readonly clear: () => void;
};

export function newTopics(record: Telemetry['record']): Topics {
  const topics = new Map<string, Set<Handler>>();
  let running = 0;

  async function call(handler: Handler, message: JsonObject): Promise<JsonObject> {
    try {
      return (await handler.call(message)) ?? {};
    } catch (error) {
      record({ type: 'fault', error: asError(error) });
      return {};
    }
  }
  return {
    on(topic, f) {
      const handler = { call: f };
      const handlers = topics.get(topic) ?? new Set();
      topics.set(topic, handlers.add(handler));
      return () => void handlers.delete(handler);
    },
    async handle(topic, message) {
      const handlers = [...(topics.get(topic) ?? [])];
      if (handlers.length === 0) return {};
      if (running >= MOST) return undefined;
      running += 1;
      try {
        const answers = await inTime(Promise.all(handlers.map((handler) => call(handler, message))));
        return answers && Object.fromEntries(answers.flatMap((answer) => Object.entries(answer)));
      } finally {
        running -= 1;
      }
    },
    clear: () => topics.clear(),
  };
}

async function inTime<T>(work: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), STUCK).unref();
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
