/** The status of a running proxy: overhears what it records, looks at its house, and shows both on a page. */

import type { Router } from 'express';
import type { Telemetry } from '../events.ts';
import type { BoardOptions } from './board.ts';
import { type Sight, newRecorder } from './recorder.ts';
import { createStatusPage } from './routes.ts';

export interface StatusRoom {
  /** The same telemetry, overheard. */
  overhear<T extends Telemetry>(telemetry: T): T;
  /** From now on this house is looked at. `ready`: whether new exchanges should come to this proxy. */
  watch(house: Sight, ready: () => boolean): void;
  /** Of the ops port. */
  readonly router: Router;
  close(): void;
}

export function createStatus(options: BoardOptions): StatusRoom {
  const recorder = newRecorder(options);
  let isReady = (): boolean => false;
  const page = createStatusPage(() => recorder.status(isReady()));
  return {
    overhear: (telemetry) => ({
      ...telemetry,
      record(event) {
        recorder.record(event);
        telemetry.record(event);
      },
    }),
    watch(house, ready) {
      isReady = ready;
      recorder.watch(house);
    },
    router: page.router,
    close() {
      page.close();
      recorder.close();
    },
  };
}
