/** Says in each answer which release this task runs, so that new sessions go to the newest. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { HEADER } from '../proxy/contract.ts';

/**
 * Goes before everything else: proxies read it in the answers to health checks and to `initialize`, and show it to no
 * client. Says nothing where there is no release to speak of. Throws RangeError for what is no whole number from 0 to
 * 999,999,999.
 */
export function sayRelease(release: number | undefined) {
  if (release !== undefined && !(Number.isInteger(release) && release >= 0 && release < 1_000_000_000)) {
    throw new RangeError(`release: expected a whole number from 0 to 999,999,999, got ${release}`);
  }
  return (_request: IncomingMessage, response: ServerResponse, next: () => void): void => {
    if (release !== undefined) response.setHeader(HEADER.affinityRelease, release);
    next();
  };
}
