/** Whose trouble it was that kept a request from a backend. Pure. */

/** Trouble that says nothing about the backend: it must never migrate a session, nor make the backend suspect. */
const OURS =
  /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL|UND_ERR_INVALID_ARG|CERT_.*|DEPTH_ZERO_.*|SELF_SIGNED_.*|UNABLE_TO_.*|ERR_TLS_.*|ERR_SSL_.*)$/;

/** The machine's own addresses, as `os.networkInterfaces` tells them; asked only where they matter. */
export type OwnAddresses = () => Readonly<
  Record<string, readonly { readonly family: string; readonly internal: boolean }[] | undefined>
>;

export function blameOf(cause: Error, own: OwnAddresses): 'backend' | 'ours' {
  return OURS.test(codeOf(cause)) && !lacksIPv6(cause, own) ? 'ours' : 'backend';
}

/**
 * There is no way to an IPv6 address, as this machine has none itself. The same code where it has one is about its
 * ports, which are used up.
 */
export function lacksIPv6(cause: Error, own: OwnAddresses): boolean {
  if (codeOf(cause) !== 'EADDRNOTAVAIL') return false;
  const to = 'address' in cause && typeof cause.address === 'string' ? cause.address : '';
  const inside = to === '::1';
  return (
    to.includes(':') && addressesOf(own)?.some((one) => one.family === 'IPv6' && one.internal === inside) === false
  );
}

/** Its answer has stopped in its middle. */
export function silence(): Error {
  return Object.assign(new Error('the backend does not go on with its answer'), { code: 'UND_ERR_BODY_TIMEOUT' });
}

/** Whether an answer did not begin, or did not go on, in time: nothing broke, and nobody knows what has run. */
export function isTimeout(cause: Error): boolean {
  return /^UND_ERR_(HEADERS|BODY)_TIMEOUT$/.test(codeOf(cause));
}

function codeOf(cause: Error): string {
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
}

/** Undefined where a sandbox keeps them from us. */
function addressesOf(own: OwnAddresses) {
  try {
    return Object.values(own()).flatMap((addresses) => addresses ?? []);
  } catch {
    return undefined;
  }
}
