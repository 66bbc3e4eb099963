/** The answer to a preflight: the server's where it does CORS for the page, else ours. */
import type { Sink } from './contract.ts';
import { preflightFields } from './cors.ts';
import type { Cors } from './cors.ts';

/** Milliseconds that a server has to answer one; nobody waits for a server that is not there. */
export const PREFLIGHT_MS = 1000;

/** The same sink, but that an answer is replaced by ours where one is due. */
export function preflighting(sink: Sink, cors: Cors | undefined): Sink {
  if (cors?.preflight === undefined) return sink;
  let ours = false;
  return {
    head(status, headers, own = false) {
      const fields = preflightFields(cors, { status, headers, own });
      ours = fields !== undefined;
      sink.head(ours ? 204 : status, fields ?? headers, own && !ours);
    },
    event: (event) => ours || sink.event(event),
    chunk: (bytes) => ours || sink.chunk(bytes),
    drained: () => sink.drained(),
    end: () => sink.end(),
    cut: () => (ours ? sink.end() : sink.cut()),
    get shown() {
      return sink.shown;
    },
  };
}
