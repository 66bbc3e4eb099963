/** A sink before the sink: holds back an answer that changes the session until the registry has stored the change. */
import type { Backend, Exchange, Session, Sink } from './contract.ts';
import { createKeeper } from './keeper.ts';
import type { Change, KeeperRooms, Kept, Part } from './keeper.ts';
import { remembered } from './journal.ts';

/** Whether an exchange can change the session at all: most cannot, and go straight to the client. */
export function mayChange({ intent }: Exchange): boolean {
  if (intent.kind === 'open') return true;
  if (intent.kind === 'any') return false;
  return intent.verb === 'end' || intent.messages.some((message) => remembered(message) !== undefined);
}

/** `settled` is called when the attempt is over; it throws what is a bug. */
export function remembering(
  sink: Sink,
  exchange: Exchange,
  session: Session | undefined,
  home: Backend,
  rooms: KeeperRooms,
): { readonly sink: Sink; settled(): Promise<Kept> } {
  const keeper = createKeeper(exchange, session, home, rooms);
  const queue: Part[] = [];
  let outcome: Kept = { kind: 'stored' };
  let storing: Promise<void> | undefined;
  let bug: unknown;
  let more = true;
  let broken = false;

  function deliver(part: Part): void {
    if (part.kind === 'head') sink.head(part.status, part.headers);
    else if (part.kind === 'event') more = sink.event(part.event);
    else if (part.kind === 'chunk') more = sink.chunk(part.bytes);
    else sink.end();
  }

  async function store(change: Change): Promise<void> {
    try {
      outcome = await keeper.store(change);
    } catch (error) {
      bug = error;
      outcome = { kind: 'superseded' };
    }
    broken = outcome.kind !== 'stored';
    storing = undefined;
    pump();
  }

  function pump(): void {
    while (storing === undefined && queue.length > 0) {
      if (broken) {
        queue.length = 0;
        return;
      }
      const wanted = keeper.wants(queue);
      if (wanted === 'more') return;
      if (wanted !== 'nothing') {
        storing = store(wanted);
        return;
      }
      const part = queue.shift();
      if (part !== undefined) deliver(part);
    }
  }

  function push(part: Part): boolean {
    if (broken) return true;
    queue.push(part);
    pump();
    return storing === undefined && more;
  }

  return {
    sink: {
      head: (status, headers) => void push({ kind: 'head', status, headers }),
      event: (event) => push({ kind: 'event', event }),
      chunk: (bytes) => push({ kind: 'chunk', bytes }),
      async drained() {
        await storing;
        if (more) return;
        await sink.drained();
        more = true;
      },
      end: () => void push({ kind: 'end' }),
      cut() {
        broken = true;
        sink.cut();
      },
      get shown() {
        return sink.shown;
      },
    },
    async settled() {
      await storing;
      if (bug !== undefined) throw bug;
      return outcome;
    },
  };
}
