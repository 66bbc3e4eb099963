/** Credentials as clients send them. */

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A bearer JWT whose signature nobody can verify. */
export function jwtOf(claims: unknown, signature = 'c2ln'): string {
  return `Bearer ${part({ alg: 'RS256' })}.${part(claims)}.${signature}`;
}

/** A user's token of one issuer; another `jti` makes another token of the same user. */
export function jwt(sub: string, jti = '1'): string {
  return jwtOf({ iss: 'https://issuer', sub, jti });
}
