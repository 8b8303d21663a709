import { readFileSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { connect } from 'node:http2'
import { get } from 'node:https'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { Authority } from '../packages/tls/test/certificates.ts'
import { skipWithout } from '../tools/system.mjs'
import { run, serve, upstream } from './processes.ts'

const skip = skipWithout('openssl')

/** One request by HTTPS: the status, the fields and the certificate's common name. */
async function ask (url: string, ca: string): Promise<{ status: number; fields: Record<string, unknown>; name: string; body: string }> {
  let name = ''
  const request = get(url, { agent: false, ca, servername: 'site.example', checkServerIdentity: (_host, { subject }) => void (name = String(subject.CN)) })
  const [response] = await once(request, 'response') as [IncomingMessage]
  response.setEncoding('utf8')
  return { status: response.statusCode!, fields: response.headers, name, body: (await response.toArray()).join('') }
}

t.test('--tls-cert, --tls-key, and tls in a configuration file', { skip }, async (t) => {
  const authority = new Authority(t)
  const pair = authority.issue(['site.example'], { subject: '/CN=first' })
  const to = await upstream(t, 'a')
  const flags = await serve(t, '--upstream', to, '--tls-cert', pair.files.cert, '--tls-key', pair.files.key)
  t.match(flags.url, /^https:/)
  t.match(await ask(flags.url, authority.ca), { status: 200, body: 'a', name: 'first' })

  const config = authority.path('config.yaml')
  writeFileSync(config, `
pools: { web: ['${to}'] }
admin: {}
tls:
  certificates: [{ name: site, cert: ${pair.files.cert}, key: ${pair.files.key} }]
  hsts: true
  warnBefore: 365d
  tickets: { rotate: 1h }
`)
  const file = await serve(t, '--config', config)
  t.match(await ask(file.url, authority.ca), { status: 200, fields: { 'strict-transport-security': 'max-age=63072000' }, name: 'first' })
  const next = authority.issue(['site.example'], { subject: '/CN=second' })
  for (const kind of ['cert', 'key'] as const) writeFileSync(pair.files[kind], readFileSync(next.files[kind]))
  while ((await ask(file.url, authority.ca)).name !== 'second') await new Promise((resolve) => { setTimeout(resolve, 20) })
  const metrics = await ask(`${file.url.replace('127.0.0.1', 'localhost')}/headgate/metrics`, authority.ca)
  t.match(metrics.body, /headgate_tls_certificate_expiry_timestamp_seconds\{certificate="site"\} \d{10}\n/)
  t.match(metrics.body, /headgate_tls_certificate_loads_total\{certificate="site",result="loaded"\} 2\n/)

  for (const [args, message] of [
    [['--upstream', to, '--tls-cert', pair.files.cert], /--tls-cert and --tls-key go together/],
    [['--upstream', to, '--redirect-http', ':80'], /--redirect-http needs/],
    [['--upstream', to, '--tls-cert', authority.path('ca.pem'), '--tls-key', pair.files.key], /certificate 'certificates\[0\]' cannot be used: the key is not that of the certificate of CN=Test CA/]
  ] as const) {
    const wrong = run(t, 'serve', ...args)
    t.equal((await wrong.ended).status, 2)
    t.match(wrong.stderr(), message)
  }
  writeFileSync(config, `pools: { web: ['${to}'] }\ntls: { certificates: [{ name: odd, cert: ${authority.path('ca.pem')}, key: ${pair.files.key} }] }\n`)
  const odd = run(t, 'check-config', config)
  t.equal((await odd.ended).status, 2)
  t.match(odd.stderr(), /certificate 'odd' cannot be used: the key is not that of the certificate of CN=Test CA/)
  writeFileSync(config, `pools: { web: ['${to}'] }\ntls: { certificates: [], profile: old }\n`)
  const wrong = run(t, 'serve', '--config', config)
  t.equal((await wrong.ended).status, 2)
  t.match(wrong.stderr(), /config\.yaml:2:\d+: tls\.profile: must be one of 'intermediate', 'modern'; got 'old'/)
})

t.test('HTTP/2 by the command: its limits are announced, and WebSockets go through', { skip }, async (t) => {
  const authority = new Authority(t)
  const { files } = authority.issue(['site.example'])
  const to = createServer((_request, response) => { response.end('plain') })
  to.on('upgrade', (request, socket) => {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
    socket.pipe(socket)
  })
  to.listen(0, '127.0.0.1')
  await once(to, 'listening')
  t.teardown(() => {
    to.closeAllConnections()
    to.close()
  })
  const { url } = await serve(t, '--upstream', `http://127.0.0.1:${(to.address() as AddressInfo).port}`, '--tls-cert', files.cert, '--tls-key', files.key)
  const session = connect(url, { ca: authority.ca, servername: 'site.example' })
  session.on('error', () => {})
  t.teardown(() => { session.destroy() })
  await once(session, 'remoteSettings')
  t.match(session.remoteSettings, { maxConcurrentStreams: 128, enableConnectProtocol: true })
  const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': '/', ':authority': 'site.example', 'sec-websocket-version': '13' })
  const [fields] = await once(stream, 'response') as [{ ':status': number }]
  t.equal(fields[':status'], 200)
  stream.write('there and back')
  const [data] = await once(stream, 'data') as [Buffer]
  t.equal(String(data), 'there and back')
  stream.end()
  stream.resume()
  await once(stream, 'close')
})
