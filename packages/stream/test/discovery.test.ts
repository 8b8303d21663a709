import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { dnsServer } from '../../core/test/discovery/helpers.ts'
import { exchange, firstLine, named, proxy, type Test, until } from './helpers.ts'

/** A file that a proxy looks at, replaced as a whole. */
function watched (t: Test): { path: string; write (value: unknown): void } {
  const folder = mkdtempSync(join(tmpdir(), 'hg-stream-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'members.json')
  return {
    path,
    write (value) {
      writeFileSync(`${path}.new`, JSON.stringify(value))
      renameSync(`${path}.new`, path)
    }
  }
}

t.test('members from a file: new connections follow it, those that are open stay until their upstream has drained', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const file = watched(t)
  file.write([a.url])
  const { port, stream } = await proxy(t, {
    pools: { db: { discovery: { type: 'file', path: file.path, interval: 10 }, slowStart: 0, drainTimeout: 60_000 } },
    listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: 'db' }]
  })
  const pool = stream.pools.get('db')!
  const { line, socket } = await firstLine(port('db'))
  t.equal(line, 'a')
  file.write({ upstreams: [{ url: b.url, weight: 2 }] })
  await until(() => pool.ready.length === 1 && pool.ready[0]!.url === b.url)
  t.equal(String(await exchange(port('db'))), 'b\n')
  const echo = once(socket, 'data') as Promise<[Buffer]>
  socket.write('still here')
  t.equal(String((await echo)[0]), 'still here')
  socket.end()
  await until(() => pool.upstreams.length === 1)
  file.write({ upstreams: ['http://127.0.0.1:1'] })
  await until(() => pool.discovery!.error !== '')
  t.match(pool.discovery!.error, /must be an address such as 'tcp:/, 'members that layer 4 cannot speak to are refused')
  t.equal(String(await exchange(port('db'))), 'b\n', 'and those before them stay')
})

t.test('members by SRV records of DNS, with their ports', async (t) => {
  const [a, b] = [await named(t, 'a'), await named(t, 'b')]
  const records = [a, b].map(({ port }) => ({ type: 'SRV', name: '_db._tcp.site.example', ttl: 1, data: { target: 'db.site.example', port, priority: 0, weight: 1 } }))
  const { address } = await dnsServer(t, (type) => ({
    answers: type === 'SRV' ? records : type === 'A' ? [{ type: 'A', name: 'db.site.example', ttl: 1, data: '127.0.0.1' }] : []
  }))
  const { port, stream } = await proxy(t, {
    listeners: [{ name: 'db', listen: '127.0.0.1:0', pool: { discovery: { type: 'dns', name: '_db._tcp.site.example', servers: [address] }, policy: 'round-robin', slowStart: 0 } }]
  })
  t.equal(stream.pools.get('db')!.ready.length, 2)
  const lines = await Promise.all([1, 2, 3, 4].map(() => exchange(port('db'))))
  t.same(lines.map(String).sort(), ['a\n', 'a\n', 'b\n', 'b\n'])
})

t.test('members by HTTP, for UDP: the listener that uses a pool says how its members are spoken to', async (t) => {
  const answers = await Promise.all(['a', 'b'].map(async (name) => {
    const socket = createSocket('udp4')
    socket.on('message', (_datagram, { port, address }) => { socket.send(name, port, address) })
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    t.teardown(() => socket.close())
    return `udp://127.0.0.1:${socket.address().port}`
  }))
  const [a, b] = answers as [string, string]
  let members = [a]
  const server = createServer((_request, response) => { response.end(JSON.stringify(members)) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const { port, stream } = await proxy(t, {
    pools: { dns: { discovery: { type: 'http', url, interval: 10 }, slowStart: 0 } },
    listeners: [{ name: 'dns', protocol: 'udp', listen: '127.0.0.1:0', pool: 'dns', responses: 1 }]
  })
  const client = createSocket('udp4')
  t.teardown(() => client.close())
  const ask = async (): Promise<string> => {
    client.send('?', port('dns'), '127.0.0.1')
    return String((await once(client, 'message') as [Buffer])[0])
  }
  t.equal(await ask(), 'a')
  members = [b]
  const pool = stream.pools.get('dns')!
  await until(() => pool.ready.length === 1 && pool.ready[0]!.url === b)
  t.equal(await ask(), 'b')
})
