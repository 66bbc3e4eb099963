/** What happened, as JSON lines. */

import { createHash } from 'node:crypto';
import { pino } from 'pino';
import type { RoutingEvent } from '../events.ts';

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
    case 'unusable':
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

export function createLog({ level, destination = stdout(), listens }: LogOptions): (event: RoutingEvent) => void {
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
  return (event) => {
    if (event.type === 'listening') return open(() => always.info(fieldsOf(event), event.type));
    if (event.type === 'fault' || event.type === 'stopped') open();
    const eventLevel = levelOf(event);
    if (logger.isLevelEnabled(eventLevel)) logger[eventLevel](fieldsOf(event), event.type);
  };
}

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
