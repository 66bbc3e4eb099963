/** What discovery says over time: the last good answer is kept while questions fail, and until "nobody" repeats. */

/** One record, or several of the same kind, with how long they hold, in seconds. */
export type Answer<T> = { readonly records: readonly T[]; readonly ttl: number };

export type Asked<T> = Answer<T> & {
  /** This time it named somebody. */
  readonly heard: boolean;
  /** Why it did not. */
  readonly cause?: string;
};

/** Answers without a record that are believed: a single odd one changes nothing. */
const EMPTY_IN_A_ROW = 3;
/** The name does not exist, or has no such record (c-ares' codes): an answer, and not a failure. */
const EMPTY = new Set(['ENODATA', 'ENOTFOUND']);

/**
 * Remembers the answer to one question. Each call asks once. A failure leaves the last answer as it is, for however
 * long it lasts; one without records does so twice, and the third in a row is believed. `nobody` is the cause of an
 * answer without records. Never rejects.
 */
export function rememberAnswer<T>(ask: () => Promise<Answer<T>>, nobody = 'ENODATA'): () => Promise<Asked<T>> {
  let last: Answer<T> = { records: [], ttl: Infinity };
  let empty = 0;
  return async () => {
    let cause = nobody;
    let isEmpty = true;
    try {
      const answer = await ask();
      if (answer.records.length > 0) {
        last = answer;
        empty = 0;
        return { ...last, heard: true };
      }
    } catch (error) {
      cause = codeOf(error);
      isEmpty = EMPTY.has(cause);
    }
    empty = isEmpty ? empty + 1 : 0;
    if (empty >= EMPTY_IN_A_ROW) last = { records: [], ttl: Infinity };
    return { ...last, heard: false, cause };
  };
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
