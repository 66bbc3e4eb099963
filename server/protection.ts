/** Keeps ECS from stopping a task that holds sessions when the service scales in or deploys. */

import { inRange } from './range.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * - `on`: ECS does not stop the task for scaling or a deployment, until `expiresAt` (milliseconds since 1970).
 * - `refused`: ECS will not protect it, as when a deployment waits for it; `failed`: ECS could not be asked.
 */
export type Protection =
  | { readonly kind: 'on'; readonly expiresAt: number }
  | { readonly kind: 'off' }
  | { readonly kind: 'refused' | 'failed'; readonly reason: string };

export type ProtectionOptions = {
  /** How many sessions the task holds now. */
  readonly sessions: () => number;
  /** Seconds that a task may stay protected without having been empty: 21,600 by default, 6 hours. A deployment waits that long. */
  readonly maxAgeSeconds?: number;
  /** Minutes until a protection ends that nobody renews, as when this process hangs: 1 to 2880; 10 by default. */
  readonly expiresInMinutes?: number;
  /** Seconds between looks at `sessions`: 5 by default. */
  readonly everySeconds?: number;
  /** Told of each change, and of each other reason. What it throws is dropped. */
  readonly onChange?: (now: Protection) => void;
  /** Where `ECS_AGENT_URI` is: `process.env` by default. */
  readonly env?: Environment;
};

export type ScaleInProtection = {
  /** `off` where there is no agent to ask. */
  readonly now: Protection;
  /** Takes the protection off, where it is on, and looks no more. Never rejects. Idempotent. */
  close(): Promise<void>;
};

/** Milliseconds. */
const ANSWER_WITHIN = 5_000;
const LONGEST_PAUSE = 60_000;
/** ECS, "Task scale-in protection endpoint": minutes. */
const LONGEST_EXPIRY = 2_880;

/**
 * On while the task holds sessions, renewed at half its time; off at none, and at `maxAgeSeconds` until there were none.
 * An agent that throttles or fails is asked again after a pause that doubles up to a minute. Does nothing where there is
 * no `ECS_AGENT_URI`. The task's role needs `ecs:UpdateTaskProtection`. Throws RangeError for times that are none.
 */
export function scaleInProtection(options: ProtectionOptions): ScaleInProtection {
  const { sessions, maxAgeSeconds = 21_600, expiresInMinutes = 10, everySeconds = 5, env = process.env } = options;
  inRange('expiresInMinutes', expiresInMinutes, { of: 'minutes', from: 1, to: LONGEST_EXPIRY });
  inRange('maxAgeSeconds', maxAgeSeconds, { of: 'seconds', from: 0, to: Infinity });
  inRange('everySeconds', everySeconds, { of: 'seconds', from: 0.001, to: LONGEST_PAUSE / 1_000 });
  const agent = env['ECS_AGENT_URI'];
  let now: Protection = { kind: 'off' };
  if (!agent) return { now, close: async () => {} };

  const everyMs = everySeconds * 1_000;
  const stay = newStay(maxAgeSeconds * 1_000);
  /** What ECS was told last and has not refused; undefined: nobody knows. */
  let told: boolean | undefined = false;
  let renewAt = 0;
  let pause = everyMs;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function tell(next: Protection): void {
    const same = next.kind === now.kind && (!('reason' in next) || ('reason' in now && next.reason === now.reason));
    now = next;
    if (same) return;
    try {
      options.onChange?.(next);
    } catch {
      // The listener's own trouble.
    }
  }
  /** Who cannot say holds what it held. */
  function count(): number {
    try {
      return sessions();
    } catch {
      return told === false ? 0 : 1;
    }
  }
  async function set(enabled: boolean): Promise<void> {
    const next = await put(agent ?? '', enabled, expiresInMinutes);
    const done = next.kind === 'on' || next.kind === 'off';
    told = done ? enabled : undefined;
    pause = done ? everyMs : Math.min(LONGEST_PAUSE, pause * 2);
    if (next.kind === 'on') renewAt = (Date.now() + next.expiresAt) / 2;
    tell(next);
  }
  async function look(): Promise<void> {
    const wanted = stay.wanted(count(), Date.now());
    if (wanted !== told || (wanted && Date.now() >= renewAt)) await set(wanted);
    if (!closed) timer = setTimeout(() => void (running = look()), pause).unref();
  }
  let running = look();

  return {
    get now() {
      return now;
    },
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      await running;
      if (told !== false) await set(false);
    },
  };
}

/** How long the task has held sessions without a break. */
function newStay(maxAgeMs: number) {
  let since: number | undefined;
  return {
    wanted(sessions: number, at: number): boolean {
      since = sessions > 0 ? (since ?? at) : undefined;
      return since !== undefined && at - since < maxAgeMs;
    },
  };
}

/** The agent answers in one of three shapes, whatever the status; anything else is a failure too. */
async function put(agent: string, enabled: boolean, minutes: number): Promise<Protection> {
  try {
    const body = { ProtectionEnabled: enabled, ...(enabled && { ExpiresInMinutes: minutes }) };
    const answer = await fetch(`${agent}/task-protection/v1/state`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN),
    });
    return read(await answer.json(), answer.status, Date.now() + minutes * 60_000);
  } catch (error) {
    return { kind: 'failed', reason: error instanceof Error ? error.name : 'error' };
  }
}

function read(said: unknown, status: number, expiresAt: number): Protection {
  const protection = part(said, 'protection');
  if (protection) {
    const until = Date.parse(String(protection['ExpirationDate']));
    if (protection['ProtectionEnabled'] !== true) return { kind: 'off' };
    return { kind: 'on', expiresAt: Number.isNaN(until) ? expiresAt : until };
  }
  const failure = part(said, 'failure');
  if (failure) return { kind: 'refused', reason: String(failure['Reason']) };
  const error = part(said, 'error');
  return { kind: 'failed', reason: error ? String(error['Code']) : `status ${status}` };
}

function part(of: unknown, name: string): Readonly<Record<string, unknown>> | undefined {
  if (typeof of !== 'object' || of === null) return undefined;
  const found: unknown = Object.entries(of).find(([key]) => key === name)?.[1];
  return typeof found === 'object' && found !== null ? { ...found } : undefined;
}
