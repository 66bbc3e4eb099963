/** A real Redis that speaks TLS only, under a certificate of its own, to one user with as few rights as may be. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startProcess } from './process.ts';

/** What must never be seen anywhere. */
export const PASSWORD = 'p@ss:w/rd#1';
const USER = 'affinity';
/** All that the proxy needs. */
const RIGHTS = '-@all +@read +@write +@pubsub +@scripting +@connection -@dangerous';

export type TlsRedis = {
  /** With user and password, by an address that the certificate names. */
  readonly url: string;
  /** The certificate's file, in PEM: it is its own authority. */
  readonly authority: string;
  readonly port: number;
  readonly close: () => Promise<void>;
};

export async function startTlsRedis(): Promise<TlsRedis> {
  const { folder, key, certificate } = await newCertificate();
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    const redis = await startProcess((port) => [
      'port 0',
      `tls-port ${port}`,
      ...tlsSettings(key, certificate),
      'save ""',
      'user default off',
      `user ${USER} on >${PASSWORD} ~mcp-affinity:* &mcp-affinity:* ${RIGHTS}`,
    ]);
    return {
      url: `rediss://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${redis.port}`,
      authority: certificate,
      port: redis.port,
      async close() {
        await redis.close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

function tlsSettings(key: string, certificate: string): readonly string[] {
  return [
    `tls-cert-file ${certificate}`,
    `tls-key-file ${key}`,
    `tls-ca-cert-file ${certificate}`,
    'tls-auth-clients no',
  ];
}

/** For 127.0.0.1, and no other name, unless others are given; by the program `openssl`. */
export async function newCertificate(names = 'IP:127.0.0.1') {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-tls-'));
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const about = ['-days', '2', '-subj', '/CN=mcp-affinity test', '-addext', `subjectAltName=${names}`];
  await promisify(execFile)('openssl', ['req', '-x509', ...curve, ...about, '-keyout', key, '-out', certificate]);
  return { folder, key, certificate };
}
