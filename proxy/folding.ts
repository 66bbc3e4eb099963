/** Paths that a backend might read as an MCP endpoint's, where they are written otherwise. Pure. */

/** How often servers and the proxies before them decode a path: twice is a known fault, more is nobody's. */
const MOST_DECODED = 4;

/**
 * Whether a path is none to send on: it may be read as the endpoint's, or as one below it, by a server that decodes (also
 * twice, also overlong UTF-8), folds case or compatibility forms, merges slashes, drops parameters, extensions, control
 * characters and what trails, cuts at a NUL, resolves dots, or mounts its handler for all below (`app.use`, `Mount`). A
 * path with dots to resolve, or one that begins like a host, is nobody's: no client that follows WHATWG's URL standard
 * sends it.
 */
export function isFolded(path: string, endpoints: readonly string[]): boolean {
  const plain = plainly(path);
  if (plain === undefined || plain.startsWith('//')) return true;
  if (plain.split('/').some((part) => /^\.{1,2}$/.test(part))) return true;
  const read = trimmed(plain);
  return endpoints.some((endpoint) => {
    const own = trimmed(plainly(endpoint) ?? endpoint);
    // Everything is below the root.
    if (own === '/') return read === '/';
    return read === own || (read.startsWith(own) && !/^[\p{L}\p{N}_-]/u.test(read.slice(own.length)));
  });
}

/** Undefined where it goes on decoding into something else. */
function plainly(path: string): string | undefined {
  let text = path;
  for (let turn = 0; turn <= MOST_DECODED; turn += 1) {
    const decoded = decode(text);
    if (decoded === text) return tidy(text);
    text = decoded;
  }
  return undefined;
}

function decode(text: string): string {
  return fromUtf8(
    text
      .replaceAll(/%u([\da-f]{4})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
      .replaceAll(/%([\da-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  );
}

/** Bytes, one a character, to the characters that they stand for; overlong sequences too (RFC 3629, section 10). */
function fromUtf8(bytes: string): string {
  return bytes.replaceAll(
    /[\u00c0-\u00df][\u0080-\u00bf]|[\u00e0-\u00ef][\u0080-\u00bf]{2}|[\u00f0-\u00f7][\u0080-\u00bf]{3}/g,
    (sequence) => {
      const lead = sequence.charCodeAt(0) & (0x7f >> sequence.length);
      let code = lead;
      for (let at = 1; at < sequence.length; at += 1) code = (code << 6) | (sequence.charCodeAt(at) & 0x3f);
      return code <= 0x10_ffff ? String.fromCodePoint(code) : '';
    },
  );
}

/** Dots stay, as they are to be seen by whoever resolves them. */
function tidy(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll('\\', '/')
    .replace(/[?#].*$/s, '')
    .replaceAll(/[\p{C}\p{Z}]/gu, '')
    .replaceAll(/;[^/]*/g, '');
}

/** Slashes merged, and without what trails in a part. */
function trimmed(text: string): string {
  return text
    .replaceAll(/\/+/g, '/')
    .replaceAll(/\.+(?=\/|$)/g, '')
    .replace(/(?<=.)\/$/, '');
}
