/** What the configuration takes, and that it names every fault at once. */

import { describe, expect, test } from 'vitest';
import { type Config, checkOptions, parseConfig } from '../../proxy/config.ts';

const A = ['--backend', 'http://a:3000'];

function config(args: readonly string[], env: Record<string, string> = {}): Config {
  const parsed = parseConfig(args, env);
  if (parsed.kind === 'faults') throw new Error(parsed.faults.join('\n'));
  return parsed.config;
}

function faults(args: readonly string[], env: Record<string, string> = {}): readonly string[] {
  const parsed = parseConfig(args, env);
  return parsed.kind === 'faults' ? parsed.faults : [];
}

describe('what is taken', () => {
  test('one backend is enough', () => {
    expect(config(A)).toEqual({
      port: 8080,
      host: '127.0.0.1',
      opsPort: 9464,
      opsHost: '127.0.0.1',
      path: ['/mcp'],
      discovery: 'static',
      backends: ['http://a:3000'],
      dns: undefined,
      cloudMap: undefined,
      backendPort: undefined,
      backendHost: undefined,
      refreshSeconds: 2,
      allowLoopback: false,
      healthPath: undefined,
      redis: undefined,
      sessionTtl: 86_400,
      holdSeconds: 10,
      answerSeconds: undefined,
      commentSeconds: 8,
      keepAliveSeconds: 620,
      onSessionLost: 'migrate',
      replay: 'safe',
      allowedHosts: undefined,
      allowedOrigins: undefined,
      cors: undefined,
      maxBody: 4_194_304,
      maxBodies: undefined,
      chaosMigrate: false,
      maxSessions: Infinity,
      maxSessionsPerOwner: Infinity,
      maxSessionsPerClient: Infinity,
      initializeRate: 'off',
      guessRate: '20/s',
      maxStreamsPerSession: 16,
      maxSessionsInMemory: 100_000,
      cacheBytes: 67_108_864,
      zone: undefined,
      bindOwner: 'subject',
      trustProxy: 0,
      passthrough: true,
      drainSeconds: 25,
      lameDuckSeconds: 5,
      emf: undefined,
      logLevel: 'info',
    });
  });

  test('every flag', () => {
    const flags = `--port 0 --host 0.0.0.0 --ops-port 1 --ops-host ::1 --path /a/b --path /c --backend https://B:443 --backend http://[::1]:1
      --discovery static --refresh 0.5 --allow-loopback on --health-path /health --redis rediss://u:p%40@r:6380/1 --session-ttl 60 --session-max-age 3600 --hold-seconds 0 --answer-seconds 2.5 --on-session-lost not-found
      --replay never --allowed-host MCP.example.com --allowed-origin HTTPS://App.example.com:443 --cors https://app.example.com --cors http://LOCALHOST:5173 --max-body 10 --max-bodies 20
      --trust-proxy 2 --passthrough off --drain-seconds 0.5 --lame-duck-seconds 0.4 --comment-seconds off --keep-alive-seconds 75 --log-level debug --chaos-migrate on --max-sessions-per-backend 50 --max-sessions-in-memory 60 --cache-bytes 1048576 --max-streams-per-session 2 --max-sessions-per-owner 5 --max-sessions-per-client 6 --initialize-rate 10/min --guess-rate 5/s --zone eu-west-1a --bind-owner header:X-User --emf mcp/x`;
    expect(config(flags.split(/\s+/))).toEqual({
      port: 0,
      host: '0.0.0.0',
      opsPort: 1,
      opsHost: '::1',
      path: ['/a/b', '/c'],
      discovery: 'static',
      backends: ['https://b', 'http://[::1]:1'],
      dns: undefined,
      cloudMap: undefined,
      backendPort: undefined,
      backendHost: undefined,
      refreshSeconds: 0.5,
      allowLoopback: true,
      healthPath: '/health',
      redis: ['rediss://u:p%40@r:6380/1'],
      sessionTtl: 60,
      sessionMaxAge: 3600,
      holdSeconds: 0,
      answerSeconds: 2.5,
      commentSeconds: undefined,
      keepAliveSeconds: 75,
      onSessionLost: 'not-found',
      replay: 'never',
      allowedHosts: ['mcp.example.com'],
      allowedOrigins: ['https://app.example.com'],
      cors: ['https://app.example.com', 'http://localhost:5173'],
      maxBody: 10,
      maxBodies: 20,
      chaosMigrate: true,
      maxSessions: 50,
      maxSessionsPerOwner: 5,
      maxSessionsPerClient: 6,
      initializeRate: '10/min',
      guessRate: '5/s',
      maxStreamsPerSession: 2,
      maxSessionsInMemory: 60,
      cacheBytes: 1_048_576,
      zone: 'eu-west-1a',
      bindOwner: 'header:x-user',
      trustProxy: 2,
      passthrough: false,
      drainSeconds: 0.5,
      lameDuckSeconds: 0.4,
      emf: 'mcp/x',
      logLevel: 'debug',
    });
  });

  test.each<[keyof Config, string, string, unknown]>([
    ['port', 'PORT', '1', 1],
    ['host', 'HOST', 'localhost', 'localhost'],
    ['opsPort', 'OPS_PORT', '0', 0],
    ['opsHost', 'OPS_HOST', '::', '::'],
    ['path', 'MCP_PATH', '/x, /y', ['/x', '/y']],
    ['backends', 'BACKENDS', 'http://b:1, http://c:1,', ['http://b:1', 'http://c:1']],
    ['discovery', 'DISCOVERY', 'static', 'static'],
    ['refreshSeconds', 'REFRESH_SECONDS', '0.1', 0.1],
    ['healthPath', 'HEALTH_PATH', '/health', '/health'],
    ['redis', 'REDIS_URL', 'redis://r\n', ['redis://r']],
    ['sessionTtl', 'SESSION_TTL_SECONDS', '5', 5],
    ['sessionMaxAge', 'SESSION_MAX_AGE_SECONDS', '60', 60],
    ['holdSeconds', 'HOLD_SECONDS', '1.5', 1.5],
    ['answerSeconds', 'ANSWER_SECONDS', 'off', undefined],
    ['commentSeconds', 'COMMENT_SECONDS', '2.5', 2.5],
    ['keepAliveSeconds', 'KEEP_ALIVE_SECONDS', '3660', 3660],
    ['onSessionLost', 'ON_SESSION_LOST', 'not-found', 'not-found'],
    ['replay', 'REPLAY', 'always', 'always'],
    ['allowedHosts', 'ALLOWED_HOSTS', 'x,y', ['x', 'y']],
    ['allowedOrigins', 'ALLOWED_ORIGINS', 'vscode-file://app', ['vscode-file://app']],
    ['allowedOrigins', 'ALLOWED_ORIGINS', 'NULL', ['null']],
    ['cors', 'CORS_ORIGINS', 'https://a,http://b:1', ['https://a', 'http://b:1']],
    ['maxBody', 'MAX_BODY_BYTES', '1', 1],
    ['maxBodies', 'MAX_BODIES_BYTES', '4194304', 4_194_304],
    ['drainSeconds', 'DRAIN_SECONDS', '1', 1],
    ['lameDuckSeconds', 'LAME_DUCK_SECONDS', '1', 1],
    ['trustProxy', 'TRUST_PROXY', '32', 32],
    ['passthrough', 'PASSTHROUGH', 'off', false],
    ['emf', 'EMF', 'on', 'mcp-affinity'],
    ['logLevel', 'LOG_LEVEL', 'warn', 'warn'],
  ])('%s from %s', (name, variable, value, expected) => {
    expect(config([], { BACKENDS: 'http://a:3000', [variable]: value })[name]).toEqual(expected);
  });

  test('flags win over the environment, the last of two over the first', () => {
    const env = { BACKENDS: 'http://b:1,http://c:1', PORT: 'nonsense', HOST: '10.0.0.1' };
    const { backends, port, host } = config([...A, '--port', '1', '--port=2'], env);
    expect({ backends, port, host }).toEqual({ backends: ['http://a:3000'], port: 2, host: '10.0.0.1' });
  });

  test('an empty variable says nothing', () => {
    expect(config(A, { PORT: '', REDIS_URL: ' ', BACKENDS: ',' })).toEqual(config(A));
  });

  test('a short shutdown has a shorter lame duck', () => {
    expect([0, 2, 9, 10, 600].map((drain) => config([...A, `--drain-seconds=${drain}`]).lameDuckSeconds)).toEqual([
      0, 1, 4.5, 5, 5,
    ]);
  });

  test('the ops host follows the host', () => {
    expect(config([...A, '--host', '0.0.0.0']).opsHost).toBe('0.0.0.0');
  });
});

describe('a fault says what was expected and what was given', () => {
  test.each<[string, string, RegExp]>([
    ['port', 'http', /^--port: expected a port from 0 to 65535, got "http"$/],
    ['port', '65536', /got "65536"$/],
    ['port', '80.5', /got "80.5"$/],
    ['port', '1e3', /got "1e3"$/],
    ['port', '', /^--port: expected .*, got nothing$/],
    ['host', 'a b', /^--host: expected an IP address or host name, got "a b"$/],
    ['path', 'mcp', /^--path: expected a path that starts with '\/'/],
    ['path', '/mcp?x=1', /without query/],
    ['path', '/a/../b', /got "\/a\/\.\.\/b"/],
    ['backend', 'a:3000', /^--backend: expected an http:\/\/ or https:\/\/ origin, .*, got "a:3000"$/],
    ['backend', 'http://a/mcp', /without a path \(the path is --path/],
    ['backend', 'http://a,http://b', /origin/],
    ['backend', 'http://a?x', /without query/],
    ['backend', 'http://u:hunter2@a', /without user and password, got "http:\/\/\*\*\*@a"$/],
    ['discovery', 'consul', /^--discovery: expected static, dns or cloud-map, got "consul"$/],
    ['refresh', '0', /^--refresh: expected seconds from 0.1 to 86400, got "0"$/],
    ['health-path', 'health', /^--health-path: expected a path that starts with '\/'/],
    ['health-path', '//host/health', /^--health-path: expected a path .* not with '\/\/', .*got "\/\/host\/health"$/],
    ['path', '//mcp', /^--path: expected a path /],
    ['health-path', '/mcp', /^--health-path: expected another path than the MCP endpoint's, got "\/mcp"$/],
    ['redis', 'http://r', /^--redis: expected a URL as in redis:\/\/.*, got "http:\/\/…"$/],
    ['session-ttl', '0', /^--session-ttl: expected whole seconds from 1 to /],
    ['session-max-age', '0', /^--session-max-age: expected off, or whole seconds from 1 to /],
    ['hold-seconds', '-1', /^--hold-seconds: expected seconds from 0 to 86400, got "-1"$/],
    ['answer-seconds', '0', /^--answer-seconds: expected off, or seconds from 0.1/],
    ['comment-seconds', '0', /^--comment-seconds: expected off, or seconds from 0.1/],
    ['keep-alive-seconds', '0', /^--keep-alive-seconds: expected seconds from 1 to 86400, got "0"$/],
    ['on-session-lost', 'drop', /expected migrate or not-found, got "drop"$/],
    ['replay', 'maybe', /expected never, safe or always, got "maybe"$/],
    [
      'bind-owner',
      'header:',
      /expected subject, none, or header:NAME as in header:x-amzn-oidc-identity, got "header:"$/,
    ],
    ['allowed-host', 'a:80', /expected a host name without port/],
    ['allowed-origin', 'https://a/b', /expected an origin without path/],
    ['cors', '*', /^--cors: expected an origin without path, .*got "\*"$/],
    ['max-body', '1.5', /expected whole bytes/],
    ['max-bodies', '4194303', /^--max-bodies: expected at least --max-body \(4194304\), got "4194303"$/],
    ['trust-proxy', '33', /^--trust-proxy: expected a whole number of proxies from 0 to 32, got "33"$/],
    ['trust-proxy', 'true', /got "true"$/],
    ['passthrough', 'yes', /^--passthrough: expected on or off, got "yes"$/],
    ['log-level', 'trace', /expected error, warn, info or debug, got "trace"$/],
  ])('--%s %j', (flag, value, expected) => {
    const found = faults([...(flag === 'backend' ? [] : A), `--${flag}=${value}`]);
    expect(found).toEqual([expect.stringMatching(expected)]);
  });

  test('of a variable, the variable is named', () => {
    expect(faults([], { BACKENDS: 'http://a,ftp://b', PORT: 'x' })).toEqual([
      expect.stringMatching(/^PORT: .*"x"$/),
      expect.stringMatching(/^BACKENDS: .*"ftp:\/\/b"$/),
    ]);
  });

  test('no backend', () => {
    expect(faults([])).toEqual(['--backend or BACKENDS: expected at least one backend, got nothing']);
  });

  test('a backend twice, whatever it is written like', () => {
    expect(faults(['--backend', 'http://a', '--backend', 'http://A:80'])).toEqual([
      '--backend: expected each host and port once, got "http://A:80" again',
    ]);
  });

  test('the proxy’s own address, unless its port is not known yet', () => {
    const own = ['--port', '3000', '--backend', 'http://localhost:3000'];
    const fault = `--backend: expected another address than the proxy's own, got "http://localhost:3000"`;
    expect([faults(own), faults([...own, '--host', '0.0.0.0'])]).toEqual([[fault], [fault]]);
    expect([faults([...own, '--host', '10.0.0.7']), faults([...own, '--port', '0'])]).toEqual([[], []]);
  });

  test('the address of no host', () => {
    expect(faults(['--backend', 'http://169.254.169.254'])).toEqual([
      '--backend: expected a backend at the address of a host, no link-local one, got "http://169.254.169.254"',
    ]);
  });

  test('a path twice, and a health path that is one of them', () => {
    expect(faults([...A, '--path', '/a', '--path', '/b', '--path', '/a/', '--health-path', '/b'])).toEqual([
      '--path: expected each path once, got "/a/" again',
      '--health-path: expected another path than the MCP endpoint\'s, got "/b"',
    ]);
    expect(faults([...A, '--path', '/a', '--path', 'b'])).toEqual([expect.stringMatching(/^--path: .*got "b"$/)]);
    expect(checkOptions({ backends: ['http://a'], path: ['/a', '/b'] })).toMatchObject({
      config: { path: ['/a', '/b'] },
    });
    expect(checkOptions({ backends: ['http://a'], path: '/a' })).toMatchObject({ config: { path: ['/a'] } });
  });

  test('both ports the same, unless picked', () => {
    expect(faults([...A, '--port', '9464'])).toEqual([
      '--ops-port: expected another port than the MCP port, got "9464"',
    ]);
    expect(faults([...A, '--port', '0', '--ops-port', '0'])).toEqual([]);
  });

  test('a lame duck that outlives the whole shutdown', () => {
    expect(faults([...A, '--lame-duck-seconds', '26'])).toEqual([
      '--lame-duck-seconds: expected at most --drain-seconds (25), which counts it, got "26"',
    ]);
    expect(config([...A, '--lame-duck-seconds', '25']).lameDuckSeconds).toBe(25);
  });

  test('all at once', () => {
    const found = faults(['--port', 'x', '--backend', 'http://a', '--backend', 'http://a', '--nonsense'], {
      REPLAY: 'x',
    });
    expect(found.map((fault) => fault.split(':')[0])).toEqual(['--nonsense', '--port', 'REPLAY', '--backend']);
  });
});

describe('discovery by DNS', () => {
  test.each([
    ['mcp.internal:3000', 'mcp.internal', 3000],
    ['mcp:1', 'mcp', 1],
    ['mcp_a.internal.:65535', 'mcp_a.internal.', 65_535],
    ['_mcp._tcp.internal', '_mcp._tcp.internal', undefined],
    ['1.2.3.internal', '1.2.3.internal', undefined],
  ])('%s', (value, name, port) => {
    expect(config(['--dns', value])).toMatchObject({ discovery: 'dns', backends: [], dns: { name, port } });
    expect(config([], { DNS_NAME: value, DISCOVERY: 'dns' })).toEqual(config(['--dns', value]));
  });

  test.each([
    'http://mcp:3000',
    'mcp:0',
    'mcp:65536',
    'mcp:',
    ':3000',
    '10.0.0.1:3000',
    '[::1]:3000',
    'a..b',
    'a b',
    '.',
  ])('not %j', (value) => {
    expect(faults(['--dns', value])).toEqual([
      `--dns: expected a DNS name with a port, as in mcp.internal:3000, or one with SRV records, as in _mcp._tcp.internal, got "${value}"`,
    ]);
  });

  test.each([
    [['--discovery', 'dns'], '--dns or DNS_NAME: expected the DNS name of the backends, got nothing'],
    [['--dns', 'mcp:1', ...A], '--backend: expected nothing with dns discovery, got "http://a:3000"'],
    [['--discovery', 'static', '--dns', 'mcp:1', ...A], '--dns: expected nothing with static discovery, got "mcp:1"'],
  ])('%j', (args, fault) => {
    expect(faults(args)).toEqual([fault]);
  });
});

describe('discovery by Cloud Map', () => {
  test.each([
    ['mcp.local/server', 'mcp.local', 'server'],
    ['a/b/_server._tcp', 'a/b', '_server._tcp'],
    [
      'arn:aws:servicediscovery:eu-west-1:1:namespace/ns-1/s',
      'arn:aws:servicediscovery:eu-west-1:1:namespace/ns-1',
      's',
    ],
  ])('%s', (value, namespace, service) => {
    const found = { discovery: 'cloud-map', backends: [], cloudMap: { namespace, service }, backendPort: undefined };
    expect(config(['--cloud-map', value])).toMatchObject(found);
    const env = { CLOUD_MAP_SERVICE: value, DISCOVERY: 'cloud-map', BACKEND_PORT: '3000' };
    expect(config([], env)).toMatchObject({ ...found, backendPort: 3000 });
  });

  test.each(['mcp.local', '/server', 'mcp.local/', 'mcp local/server', 'mcp.local/ser ver', ''])('not %j', (value) => {
    expect(faults([`--cloud-map=${value}`])).toEqual([
      `--cloud-map: expected a Cloud Map namespace and service, as in mcp.local/server, got ${value === '' ? 'nothing' : JSON.stringify(value)}`,
    ]);
  });

  test.each([
    [
      ['--discovery', 'cloud-map'],
      '--cloud-map or CLOUD_MAP_SERVICE: expected the namespace and service of the backends, as in mcp.local/server, got nothing',
    ],
    [['--cloud-map', 'a/b', ...A], '--backend: expected nothing with cloud-map discovery, got "http://a:3000"'],
    [['--cloud-map', 'a/b', '--dns', 'mcp:1'], '--cloud-map: expected nothing with dns discovery, got "a/b"'],
    [[...A, '--backend-port', '3000'], '--backend-port: expected nothing with static discovery, got "3000"'],
    [['--cloud-map', 'a/b', '--backend-port', '0'], '--backend-port: expected a port from 1 to 65535, got "0"'],
  ])('%j', (args, fault) => {
    expect(faults(args)).toEqual([fault]);
  });
});

describe('flags that are not there', () => {
  test.each([
    ['--prot', /^--prot: unknown flag, did you mean --port\?$/],
    ['--redis-url=redis://r', /^--redis-url: unknown flag, did you mean --redis\?$/],
    ['--backends=http://b', /did you mean --backend\?$/],
    ['-p', /^-p: unknown flag, see --help$/],
    ['--constructor', /unknown flag, see --help$/],
  ])('%s', (flag, expected) => {
    expect(faults([...A, flag])).toEqual([expect.stringMatching(expected)]);
  });

  test('the value of an unknown flag is not a second fault, a lone argument is one', () => {
    expect(faults([...A, '--dns', 'mcp.local'])).toHaveLength(1);
    expect(faults([...A, 'http://b:1'])).toEqual([
      expect.stringMatching(/^"http:\/\/b:1": expected a flag \(a backend/),
    ]);
  });
});

test('no fault shows a password', () => {
  for (const value of [
    'http://u:hunter2@r',
    'redis://:hun/ter2@r:6379',
    'redis://:hun#ter2@r',
    'redis://u:1#hunter2@r',
    'redis://u:1?hunter2@r',
    'redis://u:1/hunter2@r',
    'u:hunter2@r',
    'hunter2',
    `redis://r/0/?password=hunter2`,
  ]) {
    for (const found of [faults([...A, `--redis=${value}`]), faults(A, { REDIS_URL: value })]) {
      expect(found).toHaveLength(1);
      expect(found.join()).not.toMatch(/hunter2|ter2|hun/);
    }
  }
  for (const args of [
    ['--backend', 'redis://u:hunter2@r'],
    [...A, 'redis://u:hunter2@r'],
    [...A, '--redis://u:hunter2@r'],
  ]) {
    expect(faults(args).join()).toMatch(/\*\*\*@r/);
    expect(faults(args).join()).not.toMatch(/hunter2/);
  }
});
