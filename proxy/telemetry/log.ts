/** What happened, as JSON lines. */

import { createHash } from 'node:crypto';
import { pino } from 'pino';
import type { RoutingEvent } from '../events.ts';
import { mayRepeat, newRepeats } from './repeats.ts';
import type { Summary } from './repeats.ts';

export type Level = 'error' | 'warn' | 'info' | 'debug';

/** Where log lines go, each with its line feed. */
export type LogDestination = { write(line: string): void };

/** Written without delay, so that nothing is lost at exit; who reads it may go away. */
export function stdout(): LogDestination {
  return pino.destination({ fd: 1, sync: true }).on('error', () => {});
}

function levelOf(event: RoutingEvent): Level {
  switch (event.type) {
    case 'exchange':
    case 'held':
    case 'stream':
    case 'sweep':
      return 'debug';
    case 'migration':
      return event.outcome === 'migrated' || event.outcome === 'raced' ? 'info' : 'warn';
    case 'replay':
      return event.verdict === 'unknown' ? 'warn' : 'info';
    case 'session':
      return event.change === 'lost' ? 'warn' : 'debug';
    case 'registry':
    case 'discovery':
      return event.state === 'down' ? 'warn' : 'info';
    case 'backend':
      return event.state === 'alive' ? 'info' : 'warn';
    case 'checks':
      return event.state === 'ignored' ? 'warn' : 'info';
    case 'suspect':
    case 'unusable-id':
    case 'limited':
    case 'unusable':
    case 'wrong-path':
    case 'configuration':
      return 'warn';
    case 'stopped':
      return event.clean ? 'info' : 'warn';
    case 'listening':
    case 'stopping':
    case 'ignored':
    case 'order':
    case 'drain':
      return 'info';
    case 'fault':
      return 'error';
  }
}

export type LogOptions = {
  readonly level: Level;
  readonly destination?: LogDestination | undefined;
  /** A line `listening` is to come, and the others wait for it, or for a `fault` or `stopped` that comes instead. */
  readonly listens: boolean;
};

export type Log = {
  record(event: RoutingEvent): void;
  /** Writes what was counted and not said yet. Idempotent. */
  close(): void;
};

const LOOK_EVERY_MS = 1000;

/** What repeats itself, as in an outage, is written once and then every 10 s with its count; at `debug`, each time. */
export function createLog(options: LogOptions): Log {
  const write = createWriter(options);
  if (options.level === 'debug') return { record: (event) => write(event), close() {} };
  const repeats = newRepeats({ now: Date.now });
  let looking: NodeJS.Timeout | undefined;
  function say(summaries: readonly Summary[]): void {
    try {
      for (const summary of summaries) write(summary.last, summary);
    } catch {
      // Neither a full disk nor a closed pipe may end the process.
    }
    if (!repeats.idle || looking === undefined) return;
    clearInterval(looking);
    looking = undefined;
  }
  return {
    record(event) {
      // The end of an outage.
      if (event.type === 'backend' && event.state === 'alive') say(repeats.flush(event.backend));
      if (event.type === 'checks' && event.state === 'believed') say(repeats.flush());
      if (!repeats.isFirst(event)) return;
      if (!repeats.idle) looking ??= setInterval(() => say(repeats.due()), LOOK_EVERY_MS).unref();
      write(event);
    },
    close: () => say(repeats.flush()),
  };
}

function createWriter({ level, destination = stdout(), listens }: LogOptions) {
  let waiting: string[] | undefined = listens ? [] : undefined;
  const door: LogDestination = { write: (line) => (waiting ? void waiting.push(line) : destination.write(line)) };
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    door,
  );
  const always = logger.child({}, { level: 'info' });
  const open = (first?: () => void) => {
    const held = waiting ?? [];
    waiting = undefined;
    first?.();
    for (const line of held) destination.write(line);
  };
  return (event: RoutingEvent, summary?: Summary) => {
    if (event.type === 'listening') return open(() => always.info(fieldsOf(event), event.type));
    if (event.type === 'fault' || event.type === 'stopped') open();
    const eventLevel = levelOf(event);
    if (!logger.isLevelEnabled(eventLevel)) return undefined;
    const fields = summary ? summed(summary) : { ...fieldsOf(event), ...(mayRepeat(event) && { count: 1 }) };
    return logger[eventLevel](fields, event.type);
  };
}

/** A line that stands for many: what they have in common, and the last one's cause. */
function summed({ last, count, seconds: period }: Summary): object {
  const common = Object.entries(fieldsOf(last)).filter(([name]) => !OF_ONE.has(name));
  return { ...Object.fromEntries(common), count, period };
}
const OF_ONE: ReadonlySet<string> = new Set(['session', 'from', 'reason', 'seconds', 'trace']);

function fieldsOf(event: RoutingEvent): object {
  if (event.type === 'fault') return { err: event.error };
  if (event.type === 'order') {
    const { order, backend, hash } = event;
    return { order, ...(backend !== undefined && { backend }), ...(hash !== undefined && { session: short(hash) }) };
  }
  const { type: _, ...fields } = event;
  if (!('session' in fields) || fields.session === undefined) return fields;
  return { ...fields, session: short(createHash('sha256').update(fields.session).digest('hex')) };
}

function short(hash: string): string {
  return hash.slice(0, 8);
}
