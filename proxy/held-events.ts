/** Events that may not be the client's answer: kept back until that is known. */
import type { Attempt, JsonRpcId, SseEvent } from './contract.ts';
import { isServerTrouble } from './jsonrpc.ts';
import type { Reading } from './reading.ts';
import { doubtOfMessages } from './session-doubt.ts';
import type { Doubt } from './session-doubt.ts';

export interface HeldEvents {
  /** Some are kept back. */
  readonly any: boolean;
  /**
   * To the sink, unless it raises a doubt. `waited`: the requests that waited for an answer before it; `last`: none does
   * after it. False: wait for the sink's `drained()`.
   */
  event(event: SseEvent, waited: readonly JsonRpcId[], last: boolean): boolean;
  /** The attempt has ended: as `then` says, once what is kept back is shown. */
  orShow(then: () => Attempt): Attempt;
}

type Raised = Doubt | 'declined';
type Held = { readonly raised: Raised; readonly events: SseEvent[]; readonly unanswered: readonly JsonRpcId[] };

export function newHeldEvents(reading: Reading, status: number): HeldEvents {
  const { sink } = reading;
  let held: Held | undefined;

  function release(): void {
    const { events } = held ?? { events: [] };
    held = undefined;
    for (const event of events) sink.event(event);
  }

  return {
    get any() {
      return held !== undefined;
    },
    event(event, waited, last) {
      const raised = held === undefined ? raisedBy(event, reading) : undefined;
      if (raised !== undefined) held = { raised, events: [], unanswered: waited };
      // A request waits for an answer still, so what follows may be that.
      else if (held !== undefined && !last) release();
      if (held === undefined) return sink.event(event);
      held.events.push(event);
      return true;
    },
    orShow(then) {
      if (held === undefined) return then();
      const { raised, unanswered } = held;
      const show = (): Attempt => {
        release();
        return then();
      };
      if (raised === 'declined') return { kind: 'declined', status, show };
      return { kind: 'doubtful', doubt: raised, status, show, unanswered };
    },
  };
}

function raisedBy({ messages, raw }: SseEvent, { exchange, session }: Reading): Raised | undefined {
  if (exchange.intent.kind === 'open') return messages.some(isServerTrouble) ? 'declined' : undefined;
  return session === undefined ? undefined : doubtOfMessages(messages, raw);
}
