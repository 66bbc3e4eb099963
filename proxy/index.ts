/** The library's face: a proxy that stands alone, and the same as middleware in somebody's server. */
import { DEADLINES } from './app.ts';
import type { ProxyOptions } from './library-options.ts';
import { start } from './main.ts';
import type { Running } from './main.ts';
import { prepare } from './prepare.ts';

export { SessionsUnavailable } from './contract.ts';
export type { Backend, Backends, Journal, JsonObject, Session, Sessions } from './contract.ts';
export type { AffinityOptions, MiddlewareOptions, ProxyOptions } from './library-options.ts';
export { sessionAffinity } from './middleware.ts';
export type { Middleware } from './middleware.ts';
export { ConfigurationError } from './prepare.ts';
export type { LogDestination } from './telemetry/log.ts';

export interface Proxy {
  /** Rejects when a port cannot be had; it may be called again then. */
  listen(): Promise<{ readonly port: number; readonly opsPort: number }>;
  /**
   * Serves on for `lameDuckSeconds` while `/readyz` is 503, then takes nothing new, finishes what runs, and ends the rest
   * `drainSeconds` after the call. Idempotent, and for good.
   */
  close(): Promise<void>;
}

/** The proxy of the CLI, in your process. Throws ConfigurationError. */
export function createProxy(options: ProxyOptions): Proxy {
  const { config, telemetry, given } = prepare(options, true);
  let running: Promise<Running> | undefined;
  let closed = false;
  return {
    async listen() {
      if (closed) throw new Error('This proxy is closed: create another one');
      const begun = (running ??= start(config, telemetry, DEADLINES, given));
      try {
        const { port, opsPort } = await begun;
        return { port, opsPort };
      } catch (error) {
        // The port may be free another time.
        if (running === begun) running = undefined;
        throw error;
      }
    },
    async close() {
      closed = true;
      // One that never listened has closed what it had opened.
      const begun = await running?.catch(() => undefined);
      await begun?.stop();
      telemetry.close();
    },
  };
}
