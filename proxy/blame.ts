/** Whose trouble it was that kept a request from a backend. Pure. */

/** Trouble that says nothing about the backend: it must never migrate a session, nor make the backend suspect. */
const OURS =
  /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL|UND_ERR_INVALID_ARG|CERT_.*|DEPTH_ZERO_.*|SELF_SIGNED_.*|UNABLE_TO_.*|ERR_TLS_.*|ERR_SSL_.*)$/;

export function blameOf(cause: Error): 'backend' | 'ours' {
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  return OURS.test(code) ? 'ours' : 'backend';
}
