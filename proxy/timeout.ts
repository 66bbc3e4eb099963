/** Whether a backend was too slow. Pure. */

/** It did not begin, or did not go on with, its answer within `--answer-seconds`. */
export function isTimeout(cause: Error): boolean {
  return 'code' in cause && (cause.code === 'UND_ERR_HEADERS_TIMEOUT' || cause.code === 'UND_ERR_BODY_TIMEOUT');
}
