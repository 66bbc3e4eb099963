/** Keeps session ids from whoever reads what is stored: sealed with a key that only the proxies can make. */

import { createCipheriv, createDecipheriv, hash, hkdfSync } from 'node:crypto';

export type Seal = {
  /** The same for the same text. */
  readonly close: (text: string) => string;
  /** Undefined where it was sealed with another key, or never. */
  readonly open: (sealed: string) => string | undefined;
};

const CIPHER = 'aes-256-gcm';
const [NONCE, TAG] = [12, 16];

export function newSeal(secret: string): Seal {
  const keys = Buffer.from(hkdfSync('sha256', secret, '', 'mcp-affinity backend sessions', 64));
  const [key, nonceKey] = [keys.subarray(0, 32), keys.toString('hex', 32)];
  return {
    close(text) {
      // Made of the text: equal texts are one member of a set, and no two others share a nonce.
      const nonce = hash('sha256', nonceKey + text, 'buffer').subarray(0, NONCE);
      const cipher = createCipheriv(CIPHER, key, nonce);
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64url');
    },
    open(sealed) {
      const bytes = Buffer.from(sealed, 'base64url');
      if (bytes.length < NONCE + TAG) return undefined;
      const opener = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE), { authTagLength: TAG });
      opener.setAuthTag(bytes.subarray(-TAG));
      try {
        return opener.update(bytes.subarray(NONCE, -TAG), undefined, 'utf8') + opener.final('utf8');
      } catch {
        return undefined;
      }
    },
  };
}
