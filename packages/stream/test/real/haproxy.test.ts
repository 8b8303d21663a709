import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { skipWithout } from '../../../../tools/system.mjs'
import { parseProxyHeader, type ProxyHeader, tlvTypes } from '@headgate/core'
import { exchange, proxy, upstream } from '../helpers.ts'
import { accepts, folder, freePort, start } from './programs.ts'

t.test('PROXY headers between this and HAProxy, both ways', { skip: skipWithout('haproxy') }, async (t) => {
  const headers: ProxyHeader[] = []
  const server = await upstream(t, (socket) => {
    socket.once('data', (bytes: Buffer) => {
      const { header, length } = parseProxyHeader(bytes)!
      headers.push(header)
      socket.write(bytes.subarray(length))
      // What was said may come behind the header, in a piece of its own.
      socket.on('data', (more: Buffer) => { socket.write(more) })
    })
    socket.on('end', () => { socket.end() })
  })
  const [accepting, sending] = [await freePort(), await freePort()]
  const { port, stream } = await proxy(t, {
    listeners: [
      // What HAProxy sends is believed, and told on.
      { name: 'behind', listen: '127.0.0.1:0', pool: [server.url], acceptProxy: { from: ['127.0.0.1'] }, sendProxy: { version: 2, uniqueId: true } },
      { name: 'v2', listen: '127.0.0.1:0', pool: [`tcp://127.0.0.1:${accepting}`], sendProxy: 'v2' },
      { name: 'v1', listen: '127.0.0.1:0', pool: [`tcp://127.0.0.1:${accepting}`], sendProxy: 'v1' }
    ]
  })
  const config = join(folder(t), 'haproxy.cfg')
  writeFileSync(config, `global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen accepting
  bind 127.0.0.1:${accepting} accept-proxy
  server s 127.0.0.1:${server.port} send-proxy
listen sending
  bind 127.0.0.1:${sending}
  unique-id-format id-%pid
  server s 127.0.0.1:${port('behind')} send-proxy-v2 proxy-v2-options crc32c,unique-id
`)
  start(t, 'haproxy', ['-db', '-f', config])
  await accepts(sending)
  // The connection by which the test saw that it listens may come with its header at any time.
  const lastTo = (port: number): ProxyHeader | undefined => headers.findLast(({ ends }) => ends?.destination.port === port)
  for (const name of ['v1', 'v2']) {
    t.equal(String(await exchange(port(name), name)), name)
    t.match(lastTo(port(name))?.ends, { source: { address: '127.0.0.1' }, destination: { address: '127.0.0.1' } }, `${name}: HAProxy knows the client that spoke to us`)
  }
  t.equal(String(await exchange(sending, 'hello')), 'hello')
  const told = lastTo(sending)!
  t.match(told.ends, { source: { address: '127.0.0.1' }, destination: { address: '127.0.0.1' } })
  const [id] = told.tlvs
  t.equal(id!.type, tlvTypes.uniqueId)
  t.match(String(id!.value), /^id-\d+$/)
  // Its connection without a word, by which the test saw that it listens, came with a header too.
  t.equal(stream.listener('behind').counters.ends.get('proxy-malformed'), undefined)
})
