// The Debian packages that tests need beside npm's, in one list; installed where that may be done (root, apt), else their
// tests skip with the reason. In CI nothing skips. `node tools/system.mjs` installs what is missing and lists what is there.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** By the command that tests start: the package that brings it, and which tests want it. One line each. */
export const packages = {
  curl: { package: 'curl', for: 'the lines that npm start prints' },
  openssl: { package: 'openssl', for: 'TLS, and the certificates of its tests' },
  pebble: { package: 'pebble', for: 'certificates of an ACME authority' },
  promtool: { package: 'prometheus', for: 'the metrics' },
  prometheus: { package: 'prometheus', for: 'the metrics, scraped' },
  chromium: { package: 'chromium', for: 'the dashboard' },
  ping: { package: 'iputils-ping', for: 'the ping checks of health' },
  'redis-server': { package: 'redis-server', for: 'layer 4 in front of Redis' },
  'redis-cli': { package: 'redis-tools', for: 'layer 4 in front of Redis' },
  pg_ctlcluster: { package: 'postgresql', for: 'layer 4 in front of PostgreSQL' },
  psql: { package: 'postgresql-client', for: 'layer 4 in front of PostgreSQL' },
  dnsmasq: { package: 'dnsmasq-base', for: 'UDP in front of DNS' },
  dig: { package: 'bind9-dnsutils', for: 'UDP in front of DNS' },
  iperf3: { package: 'iperf3', for: 'volumes over TCP and UDP' },
  sshd: { package: 'openssh-server', for: 'routing by first bytes' },
  ssh: { package: 'openssh-client', for: 'routing by first bytes' },
  h2load: { package: 'nghttp2-client', for: 'HTTP/2 clients' },
  nghttp: { package: 'nghttp2-client', for: 'HTTP/2 clients' },
  haproxy: { package: 'haproxy', for: 'PROXY headers of layer 4' },
  script: { package: 'bsdutils', for: 'the terminal view' }
}

const ci = Boolean(process.env.CI)
// Servers of Debian live in sbin, which is not in everybody's PATH.
const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
const POLICY = '/usr/sbin/policy-rc.d'

/** Absolute path of a command; `undefined` when it is not there. */
export function find (command) {
  for (const folder of folders) {
    const path = join(folder, command)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {}
  }
  return undefined
}

/**
 * For tap's `skip` option: `false` when all commands are there, else the reason. Commands have to be in the list above, and
 * in CI a missing one is an error.
 */
export function skipWithout (...commands) {
  for (const command of commands) if (!Object.hasOwn(packages, command)) throw new Error(`'${command}' is not in the list of tools/system.mjs`)
  const missing = commands.filter((command) => find(command) === undefined)
  if (missing.length === 0) return false
  const reason = `needs Debian's ${missing.map((command) => packages[command].package).join(', ')}: run 'node tools/system.mjs' as root`
  if (ci) throw new Error(reason)
  return reason
}

/** Installs what is missing when it may; says on stderr what it did or could not do. */
export function installSystem () {
  const missing = Object.entries(packages).filter(([command]) => find(command) === undefined)
  if (missing.length === 0) return
  const names = [...new Set(missing.map(([, entry]) => entry.package))]
  if (process.getuid?.() !== 0 || find('apt-get') === undefined) {
    const message = `not installed: ${missing.map(([, entry]) => `${entry.package} (${entry.for})`).join(', ')}`
    if (ci) throw new Error(`${message}; CI has to run as root with apt`)
    return console.error(`${message}; these tests skip`)
  }
  // A package that brings a server would start it; tests start their own.
  const quiet = !existsSync(POLICY)
  if (quiet) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const apt = (...args) => spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...args], { env, stdio: ['ignore', 2, 2] }).status === 0
    const options = ['install', '-y', '--no-install-recommends', ...names]
    if (!(apt('update') && apt(...options)) && ci) throw new Error(`apt-get could not install ${names.join(', ')}`)
  } finally {
    if (quiet) rmSync(POLICY)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  installSystem()
  for (const [command, entry] of Object.entries(packages)) console.log(`${entry.package}: ${find(command) ?? 'missing'} (${entry.for})`)
}
