/** Interim answers (1xx), which come before the answer: they are read past (RFC 9110, section 15.2), up to a bound. Pure. */

/** Before one answer. Servers send a few; a backend that sends more has no end. */
const MOST_INTERIM = 1000;

/** Takes each status that comes before the answer; calls `over` when they are too many, or one is no status at all. */
function newInterimLimit(over: (error: Error) => void): (status: number) => void {
  let seen = 0;
  return (status) => {
    seen += 1;
    if (status < 100) over(new Error(`${status} is no status of an answer`));
    else if (seen > MOST_INTERIM) over(new Error(`more than ${MOST_INTERIM} interim answers came`));
  };
}

/** What is used of Node's ClientRequest. */
type Sent = {
  on(event: 'information', listener: (answer: { readonly statusCode: number }) => void): unknown;
  destroy(error: Error): unknown;
};

/** Destroys a request whose answer does not come for them. */
export function limitInterim(sent: Sent): void {
  const interim = newInterimLimit((error) => sent.destroy(error));
  sent.on('information', ({ statusCode }) => interim(statusCode));
}
