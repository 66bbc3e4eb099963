import { expect, test } from 'vitest';
import type { Session } from '../../proxy/contract.ts';
import { afterAnswer, ownerTeller, readBindOwner, standingOf } from '../../proxy/owner.ts';
import { newSession } from '../house/sessions.ts';
import { jwtOf } from '../house/tokens.ts';

const ALICE = { iss: 'https://issuer', sub: 'alice' };

const bySubject = ownerTeller('subject');
const who = (authorization?: string) => bySubject({ headers: { authorization } });
const owned = (owner: string | undefined, challenged?: true): Session => ({
  ...newSession(),
  ...(owner !== undefined && { owner }),
  ...(challenged && { challenged }),
});
const standing = (has: string | undefined, asks: string | undefined, challenged?: true) =>
  standingOf(owned(has, challenged), { owner: asks });

test.each(['subject', 'none', 'header:x-amzn-oidc-identity'])('%s is a way to tell owners apart', (how) => {
  expect(readBindOwner(how)).toBe(how);
});

test.each(['', 'Subject', 'header', 'header:', 'header:a b', 'header:a:b', 'nobody'])('%j is none', (how) => {
  expect(readBindOwner(how)).toBeUndefined();
});

test('a token of the same issuer and subject is the same owner, whatever else is in it', () => {
  expect(who(jwtOf({ ...ALICE, exp: 1, iat: 1, jti: '1' }))).toBe(
    who(jwtOf({ jti: '2', exp: 9, ...ALICE }, 'b3RoZXI')),
  );
  expect(who(jwtOf(ALICE).replace('Bearer', 'bearer'))).toBe(who(jwtOf(ALICE)));
});

test.each([
  ['another subject', jwtOf({ ...ALICE, sub: 'mallory' })],
  ['another issuer', jwtOf({ ...ALICE, iss: 'https://other' })],
  ['claims that run into one another', jwtOf({ iss: 'https://issueral', sub: 'ice' })],
  ['no issuer', jwtOf({ sub: 'alice' })],
  ['a subject that is no text', jwtOf({ ...ALICE, sub: ['alice'] })],
  ['no claims', jwtOf(null)],
  ['claims that are no JSON', 'Bearer a.b.c'],
  ['an opaque token', 'Bearer opaque'],
  ['another scheme', 'Basic YWxpY2U6cHc='],
  ['a scheme alone', 'Bearer '],
  ['nothing', undefined],
])('another owner: %s', (_what, authorization) => {
  expect(standing(who(jwtOf(ALICE)), who(authorization))).toBe('stranger');
  expect(standing(who(authorization), who(jwtOf(ALICE)))).toBe('stranger');
});

test('what is kept shows nothing of the credentials', () => {
  for (const authorization of [jwtOf(ALICE), 'Bearer opaque', 'Basic YWxpY2U6cHc=']) {
    expect(who(authorization)).toMatch(/^subject (subject|token) [0-9a-f]{64}$/);
  }
  expect(ownerTeller('header:x-user')({ headers: { 'x-user': 'alice' } })).toMatch(/^header:x-user name [0-9a-f]{64}$/);
});

test('a header names the owner; without it a request is nobody’s, whatever its credentials', () => {
  const byHeader = ownerTeller('header:x-user');
  const alice = byHeader({ headers: { 'x-user': 'alice', authorization: 'Bearer 1' } });
  expect(byHeader({ headers: { 'x-user': 'alice', authorization: 'Bearer 2' } })).toBe(alice);
  const nobody = byHeader({ headers: { authorization: 'Bearer 1' } });
  expect(byHeader({ headers: { 'x-user': '' } })).toBe(nobody);
  expect(standing(alice, nobody)).toBe('stranger');
  expect(standing(nobody, alice)).toBe('stranger');
  expect(standing(alice, byHeader({ headers: { 'x-user': 'mallory' } }))).toBe('stranger');
});

test('a function of the caller’s names the owner', () => {
  const own = ownerTeller('subject', ({ headers }) => headers.authorization?.slice('Bearer '.length));
  const alice = own({ headers: { authorization: 'Bearer alice' } });
  expect(standing(alice, alice)).toBe('owner');
  expect(standing(alice, own({ headers: {} }))).toBe('stranger');
  expect(standing(alice, own({ headers: { authorization: 'Bearer mallory' } }))).toBe('stranger');
});

test('with none, nobody is told apart', () => {
  const none = ownerTeller('none')({ headers: { authorization: 'Bearer 1' } });
  expect(none).toBeUndefined();
  expect(standing(who('Bearer 2'), none)).toBe('owner');
  expect(standing(undefined, who('Bearer 2'))).toBe('owner');
});

test('sessions outlive a change of how owners are told apart', () => {
  expect(standing(who('Bearer 1'), ownerTeller('header:x-user')({ headers: {} }))).toBe('owner');
  expect(standing(ownerTeller('header:x-user')({ headers: { 'x-user': 'alice' } }), who())).toBe('owner');
});

test('an opaque token may be the owner’s new one: its home says so', () => {
  const session = owned(who('Bearer 1'));
  const exchange = { owner: who('Bearer 2') };
  expect(standingOf(session, exchange)).toBe('candidate');
  for (const status of [301, 400, 401, 403, 404, 500, 503]) {
    expect(afterAnswer(session, exchange, status)).toBe(session);
  }
  const bound = afterAnswer(session, exchange, 202);
  expect(standingOf(bound, exchange)).toBe('owner');
  expect(standingOf(bound, { owner: session.owner })).toBe('candidate');
});

test('what was opened without credentials is bound after a challenge alone, by the first that are accepted', () => {
  const session = owned(who());
  const alice = { owner: who(jwtOf(ALICE)) };
  expect(standingOf(session, alice)).toBe('stranger');
  expect(afterAnswer(session, alice, 200)).toBe(session);
  expect(afterAnswer(session, { owner: who() }, 403)).toBe(session);
  expect(afterAnswer(session, alice, 401)).toBe(session);

  const challenged = afterAnswer(session, { owner: who() }, 401);
  expect(afterAnswer(challenged, { owner: who() }, 401)).toBe(challenged);
  expect(standingOf(challenged, { owner: who() })).toBe('owner');
  expect(standingOf(challenged, alice)).toBe('owner');
  expect(afterAnswer(challenged, alice, 401)).toBe(challenged);

  const bound = afterAnswer(challenged, alice, 200);
  expect(bound.challenged).toBeUndefined();
  expect(standingOf(bound, alice)).toBe('owner');
  expect(standingOf(bound, { owner: who() })).toBe('stranger');
  expect(standingOf(bound, { owner: who('Bearer opaque') })).toBe('stranger');
});

test('a challenge to an owner changes nothing', () => {
  const session = owned(who(jwtOf(ALICE)));
  expect(afterAnswer(session, { owner: who(jwtOf(ALICE)) }, 401)).toBe(session);
});
