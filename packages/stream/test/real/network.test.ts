import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { skipWithout } from '../../../../tools/system.mjs'
import { dnsCheck, tlsHandshakeCheck } from '../../src/index.ts'
import { named, proxy, type Test, until } from '../helpers.ts'
import { accepts, command, folder, freePort, run, start } from './programs.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))
const signal = new AbortController().signal

async function site (t: Test, name: string): Promise<string> {
  const server = createServer({ key: readFileSync(fixture('key.pem')), cert: readFileSync(fixture('cert.pem')) }, (request, response) => { response.end(`${name} ${request.headers.host?.split(':')[0]} ${'x'.repeat(100_000)}`) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('curl through SNI passthrough to HTTPS sites, certificates verified end to end', { skip: skipWithout('curl') }, async (t) => {
  const { port, stream } = await proxy(t, {
    listeners: [{
      name: 'https', listen: '127.0.0.1:0',
      routes: [{ match: { serverName: 'localhost' }, pool: [await site(t, 'first')] }, { match: { serverName: '*.example' }, pool: [await site(t, 'second')] }]
    }]
  })
  const curl = (host: string, ...more: string[]): Promise<string> => run('curl', ['-sS', '--cacert', fixture('cert.pem'), '--resolve', `${host}:${port('https')}:127.0.0.1`, ...more, `https://${host}:${port('https')}/`])
  const body = await curl('localhost')
  t.match(body, /^first localhost x+$/)
  t.equal(body.length, 'first localhost '.length + 100_000)
  await t.rejects(curl('a.example'), /certificate/, 'the certificate is the site’s own')
  t.match(await curl('a.example', '-k', '--http1.1'), /^second a\.example/)
  await t.rejects(curl('other.test', '-k'))
  const [first] = stream.pools.get('https.0')!.upstreams
  t.match(await tlsHandshakeCheck({ tls: { servername: 'localhost', ca: readFileSync(fixture('cert.pem')) } })(first!, signal), { ok: true, reason: /^TLSv1\.3/ })
  t.match(await tlsHandshakeCheck({ tls: { servername: 'localhost' } })(first!, signal), { ok: false, reason: /self.signed/i })
  t.match(await tlsHandshakeCheck({ tls: { rejectUnauthorized: false }, daysLeft: 1e6 })(first!, signal), { ok: false, reason: /ends in/ })
})

t.test('dig through UDP balancing to dnsmasq', { skip: skipWithout('dig', 'dnsmasq') }, async (t) => {
  const ports = [await freePort(), await freePort()]
  for (const port of ports) {
    start(t, 'dnsmasq', [
      '--keep-in-foreground', '--no-daemon', '--no-resolv', '--no-hosts', '--conf-file=/dev/null', '--listen-address=127.0.0.1', '--bind-interfaces', '--user=root', '--pid-file=',
      `--port=${port}`, '--address=/name.example/192.0.2.1', `--txt-record=who.example,${port}`
    ])
    await accepts(port)
  }
  const { port, stream } = await proxy(t, {
    listeners: [{ name: 'dns', protocol: 'udp', listen: '127.0.0.1:0', pool: { upstreams: ports.map((port) => `udp://127.0.0.1:${port}`), policy: 'round-robin' }, responses: 1 }]
  })
  const dig = (...args: string[]): Promise<string> => run('dig', ['@127.0.0.1', '-p', String(port('dns')), '+short', '+timeout=5', '+tries=2', ...args])
  t.equal(await dig('name.example', 'A'), '192.0.2.1\n')
  const who = new Set(await Promise.all(Array.from({ length: 6 }, () => dig('who.example', 'TXT'))))
  t.same([...who].sort(), ports.map((port) => `"${port}"\n`).sort(), 'both answer')
  await until(() => stream.listener('dns').counters.active === 0)
  t.equal(stream.listener('dns').counters.ends.get('closed'), 7)
  const [first] = stream.pools.get('dns')!.upstreams
  t.same(await dnsCheck({ name: 'name.example', record: 'A' })(first!, signal), { ok: true, reason: 'NOERROR' })
  t.match(await dnsCheck({ name: 'elsewhere.example', record: 'A' })(first!, signal), { ok: false, reason: /REFUSED|SERVFAIL/ })
})

t.test('iperf3 over TCP, both ways at once, and over UDP', { skip: skipWithout('iperf3') }, async (t) => {
  const server = await freePort()
  start(t, 'iperf3', ['-s', '-B', '127.0.0.1', '-p', String(server)])
  await accepts(server)
  const listener = await freePort()
  // iperf3 speaks to one port with both protocols.
  const { stream } = await proxy(t, {
    listeners: [
      { name: 'tcp', listen: `127.0.0.1:${listener}`, pool: [`tcp://127.0.0.1:${server}`] },
      { name: 'udp', protocol: 'udp', listen: `127.0.0.1:${listener}`, pool: [`udp://127.0.0.1:${server}`] }
    ]
  })
  type Report = { end: { sum_sent?: { bytes: number }; sum_received?: { bytes: number }; sum?: { packets: number; lost_percent: number } } }
  const iperf = async (...args: string[]): Promise<Report> => JSON.parse(await run('iperf3', ['-c', '127.0.0.1', '-p', String(listener), '-J', ...args])) as Report
  const { end } = await iperf('-n', '200M', '-P', '4')
  // The receiver stops counting when the sender has sent all; what is on its way then is not in its sum.
  t.ok(end.sum_received!.bytes > 0.7 * end.sum_sent!.bytes && end.sum_received!.bytes <= end.sum_sent!.bytes)
  t.ok((await iperf('-n', '100M', '-R')).end.sum_received!.bytes > 70 * 1024 * 1024)
  const udp = await iperf('-u', '-b', '20M', '-l', '1200', '-t', '1')
  t.ok(udp.end.sum!.packets > 1000)
  t.ok(udp.end.sum!.lost_percent < 20, `${udp.end.sum!.lost_percent} % lost`)
  t.ok(stream.listener('tcp').counters.sent > 140 * 1024 * 1024)
})

t.test('a real sshd beside something else on one port, and the key exchange of ssh through it', { skip: skipWithout('sshd', 'ssh') }, async (t) => {
  const home = folder(t)
  const key = join(home, 'host')
  execFileSync(command('ssh-keygen'), ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  const port_ = await freePort()
  writeFileSync(join(home, 'config'), `Port ${port_}\nListenAddress 127.0.0.1\nHostKey ${key}\nPidFile none\nUsePAM no\n`)
  // Debian's sshd wants this folder to separate its privileges.
  execFileSync('mkdir', ['-p', '/run/sshd'])
  start(t, 'sshd', ['-D', '-f', join(home, 'config')])
  await accepts(port_)
  const other = await named(t, 'other')
  const { port } = await proxy(t, { listeners: [{ name: 'both', listen: '127.0.0.1:0', routes: [{ match: { protocol: 'ssh' }, pool: [`tcp://127.0.0.1:${port_}`] }], pool: [other.url] }] })
  const banner = connect(port('both'), '127.0.0.1')
  banner.write('SSH-2.0-test\r\n')
  const [line] = await once(banner, 'data') as [Buffer]
  t.match(String(line), /^SSH-2\.0-OpenSSH/)
  banner.destroy()
  // The key exchange is all that is wanted: there is nobody to log in as.
  const known = join(home, 'known')
  await run('ssh', ['-F', 'none', '-p', String(port('both')), '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=accept-new', '-o', `UserKnownHostsFile=${known}`, 'nobody@127.0.0.1', 'true']).catch(() => {})
  t.ok(readFileSync(known, 'utf8').includes(readFileSync(`${key}.pub`, 'utf8').split(' ')[1]!))
})
