/** Keeps calls from waiting on a registry that does not answer, and finds out by itself when it does again. */

import { SessionsUnavailable } from '../contract.ts';

/** What a failed attempt says. */
export type Failure =
  /** There was no answer, or it came from where nothing can be changed: the attempt may be made again elsewhere. */
  | { readonly kind: 'unreachable'; readonly cause: string | undefined }
  /** The registry answered with an error. */
  | { readonly kind: 'refused'; readonly cause: string };

export type CircuitOptions = {
  /** How long a call may take, waiting for the connection and being made again included. */
  readonly deadlineMs: number;
  /** At most one probe in this time. */
  readonly probeEveryMs: number;
  /** Resolves when the registry takes changes. */
  readonly probe: () => Promise<unknown>;
  readonly judge: (error: unknown) => Failure;
  /** Told once per transition; it is up until it is seen not to be. */
  readonly onState: (state: 'up' | 'down', cause?: string) => void;
};

/** Not usable at first: calls wait for the first probe as they do after a lost connection. */
export class Circuit {
  readonly #options: CircuitOptions;
  /** Waited for while the registry is not usable. */
  #usable: PromiseWithResolvers<void> | undefined;
  /** Calls fail at once. */
  #open = false;
  #closed = false;
  #cause = 'not connected yet';
  /** The kind of attempt that the registry answers with an error. */
  #refused: string | undefined;
  #told: 'up' | 'down' = 'up';
  #probing = false;
  #outage: NodeJS.Timeout | undefined;
  #probes: NodeJS.Timeout | undefined;

  constructor(options: CircuitOptions) {
    this.#options = options;
    this.#begin();
  }

  /**
   * Waits for the registry, makes the attempt, and makes it again when the connection was lost under it; once a call
   * has met its deadline, calls fail at once until a probe is answered. `name` tells the kinds of attempts apart.
   * Throws SessionsUnavailable, and nothing else.
   */
  async run<T>(name: string, attempt: () => Promise<T>): Promise<T> {
    if (this.#open || this.#closed) throw unavailable(this.#cause);
    const given = { up: false };
    return within(this.#options.deadlineMs, this.#insist(name, attempt, given), () => {
      given.up = true;
      if (!this.#usable) this.lost('no answer in time');
      this.#trip();
      return unavailable(this.#cause);
    });
  }

  /** Resolves when calls can be made, however long that takes, or when it is closed. */
  async usable(): Promise<void> {
    while (this.#usable && !this.#closed) await this.#usable.promise.catch(() => {});
  }

  /** The connection is there: worth a probe now. */
  connected(): void {
    void this.#probe();
  }

  /** The connection is gone, or is found to be of no use; without a cause, what is known of the outage still holds. */
  lost(cause: string | undefined): void {
    if (this.#closed) return;
    if (cause !== undefined || !this.#usable) this.#cause = cause ?? 'connection closed';
    if (!this.#usable) this.#begin();
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#stopTimers();
    this.#closed = true;
    this.#cause = 'closed';
    this.#usable?.reject(unavailable(this.#cause));
  }

  async #insist<T>(name: string, attempt: () => Promise<T>, given: { readonly up: boolean }): Promise<T> {
    for (;;) {
      await this.#usable?.promise;
      if (given.up || this.#closed) throw unavailable(this.#cause);
      try {
        const result = await attempt();
        this.#answered(name);
        return result;
      } catch (error) {
        if (error instanceof SessionsUnavailable) throw error;
        const failure = this.#options.judge(error);
        if (failure.kind === 'refused') throw this.#refusedWith(name, failure.cause);
        this.lost(failure.cause);
      }
    }
  }

  #answered(name: string): void {
    if (this.#refused !== name) return;
    this.#refused = undefined;
    this.#tell();
  }

  #refusedWith(name: string, cause: string): Error {
    this.#refused ??= name;
    if (!this.#usable) this.#cause = cause;
    this.#tell();
    return unavailable(cause);
  }

  /** An outage begins: calls wait, for as long as one may take. */
  #begin(): void {
    const { deadlineMs, probeEveryMs } = this.#options;
    this.#usable = newWaiting();
    this.#outage = setTimeout(() => setImmediate(() => this.#trip()), deadlineMs).unref();
    this.#probes = setInterval(() => void this.#probe(), probeEveryMs).unref();
  }

  #trip(): void {
    if (this.#open || !this.#usable) return;
    this.#open = true;
    this.#usable.reject(unavailable(this.#cause));
    this.#usable = newWaiting();
    this.#tell();
  }

  async #probe(): Promise<void> {
    if (this.#probing || !this.#usable) return;
    this.#probing = true;
    try {
      await this.#options.probe();
      this.#heal();
    } catch (error) {
      this.lost(this.#options.judge(error).cause);
    } finally {
      this.#probing = false;
    }
  }

  #heal(): void {
    if (this.#closed) return;
    this.#stopTimers();
    this.#open = false;
    this.#usable?.resolve();
    this.#usable = undefined;
    this.#tell();
  }

  #tell(): void {
    const state = this.#open || this.#refused !== undefined ? 'down' : 'up';
    if (state === this.#told || this.#closed) return;
    this.#told = state;
    this.#options.onState(state, state === 'down' ? this.#cause : undefined);
  }

  #stopTimers(): void {
    clearTimeout(this.#outage);
    clearInterval(this.#probes);
  }
}

/** An answer that is there already when a busy process gets to look is not late. */
function within<T>(ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    let settled = false;
    const timer = setTimeout(() => setImmediate(() => settled || reject(late())), ms).unref();
    const settle = (): void => {
      settled = true;
      clearTimeout(timer);
    };
    work.then(resolve, reject).finally(settle);
  });
}

/** Nobody may be waiting when it is rejected. */
function newWaiting(): PromiseWithResolvers<void> {
  const waiting = Promise.withResolvers<void>();
  waiting.promise.catch(() => {});
  return waiting;
}

function unavailable(cause: string): SessionsUnavailable {
  return new SessionsUnavailable(`The registry cannot be used: ${cause}`);
}
