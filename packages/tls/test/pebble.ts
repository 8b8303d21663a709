import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { find } from '../../../tools/system.mjs'
import type { Authority } from './certificates.ts'

type Test = { teardown (action: () => unknown): void }

/** Every name is this machine: answers A queries, and has nothing else to say. */
async function names (t: Test): Promise<number> {
  const socket = createSocket('udp4')
  socket.on('message', (query, { address, port }) => {
    const end = query.indexOf(0, 12) + 5
    const isA = query.readUInt16BE(end - 4) === 1
    const head = Buffer.from(query.subarray(0, 12))
    head.writeUInt16BE(0x8580, 2)
    head.writeUInt16BE(isA ? 1 : 0, 6)
    head.fill(0, 8, 12)
    const answer = Buffer.from('c00c000100010000003c00047f000001', 'hex')
    socket.send(Buffer.concat([head, query.subarray(12, end), isA ? answer : Buffer.alloc(0)]), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  return socket.address().port
}

/** A port that is known before the one that it leads to. */
async function forward (t: Test): Promise<{ port: number; to (port: number): void }> {
  let target = 0
  const server: Server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    client.pipe(upstream).pipe(client)
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  return { port: (server.address() as AddressInfo).port, to: (port) => { target = port } }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export interface Pebble {
  readonly directory: string
  /** Where it looks for HTTP-01 and TLS-ALPN-01: to be pointed at the app. */
  readonly http: { to (port: number): void }
  readonly tls: { to (port: number): void }
  /** Lines of its log. */
  readonly log: () => string
}

/** Let's Encrypt's test server, with a certificate of `authority`. */
export async function pebble (t: Test, authority: Authority): Promise<Pebble> {
  const [dns, http, tls] = [await names(t), await forward(t), await forward(t)]
  const own = authority.issue(['localhost', '127.0.0.1']).files
  // It takes no port 0. Whoever took the port meanwhile makes it end, and another one is tried.
  for (let attempt = 0; ; attempt++) {
    const [port, management] = [await freePort(), await freePort()]
    const config = authority.path(`pebble-${attempt}.json`)
    writeFileSync(config, JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}`, certificate: own.cert, privateKey: own.key,
        httpPort: http.port, tlsPort: tls.port, externalAccountBindingRequired: false
      }
    }))
    const child = spawn(find('pebble')!, ['-config', config, '-dnsserver', `127.0.0.1:${dns}`], {
      env: { PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0' }, stdio: ['ignore', 'pipe', 'pipe']
    })
    let log = ''
    const ended = once(child, 'exit')
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { log += data.toString() })
    t.teardown(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended
    })
    while (child.exitCode === null && !/ACME directory available/.test(log)) await new Promise((resolve) => { setTimeout(resolve, 10) })
    if (child.exitCode === null) return { directory: `https://localhost:${port}/dir`, http, tls, log: () => log }
    if (attempt === 4) throw new Error(log)
  }
}
