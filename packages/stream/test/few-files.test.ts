import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { named, until } from './helpers.ts'

t.test('a process that can open no more files does not blame its upstreams, and goes on when it can', { skip: process.platform !== 'linux' }, async (t) => {
  const server = await named(t, 'a')
  const udp = createSocket('udp4')
  udp.on('message', (datagram, { port, address }) => { udp.send(datagram, port, address) })
  udp.bind(0, '127.0.0.1')
  await once(udp, 'listening')
  t.teardown(() => udp.close())
  const flags = [`--import=${new URL('../../../tools/strip-types.mjs', import.meta.url).href}`, '--conditions=@headgate/source']
  const script = fileURLToPath(new URL('fixtures/few-files.ts', import.meta.url))
  const child = spawn('sh', ['-c', 'ulimit -n 200; exec "$@"', 'sh', process.execPath, ...flags, script, String(server.port), String(udp.address().port)], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const gone = once(child, 'exit')
  t.teardown(async () => {
    child.stdin.end()
    await gone
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => (await lines.next()).value as string
  const [tcpPort, udpPort] = (await line()).split(' ').map(Number) as [number, number]
  const outcomes = async (): Promise<Record<string, number>> => {
    child.stdin.write('\n')
    return JSON.parse(await line()) as Record<string, number>
  }
  let failed = 0
  const sockets: Socket[] = []
  for (let i = 0; i < 80; i++) {
    const socket = connect(tcpPort, '127.0.0.1')
    sockets.push(socket)
    let told = false
    socket.on('data', () => { told = true })
    socket.on('error', () => {})
    socket.on('close', () => { if (!told) failed++ })
  }
  await until(() => failed > 5)
  const client = createSocket('udp4')
  t.teardown(() => client.close())
  let seen = await outcomes()
  while (seen['udp shed no-sockets'] === undefined) {
    // One file may be left, as a connection takes two.
    const one = createSocket('udp4')
    one.send('x', udpPort, '127.0.0.1', () => { one.close() })
    seen = await outcomes()
  }
  t.ok(seen['tcp shed no-sockets']! > 0)
  t.same(Object.keys(seen).filter((key) => key.includes('failed')), [])
  for (const socket of sockets) socket.destroy()
  await until(() => server.sockets.size === 0)
  let answer = ''
  client.on('message', (datagram: Buffer) => { answer = String(datagram) })
  // The process may have closed what the server knows of, and not yet all of the rest.
  while (answer === '') {
    client.send('y', udpPort, '127.0.0.1')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  t.equal(answer, 'y')
  // More clients than there can be sockets: who was silent longest makes room, as where the table is full.
  for (let i = 0; i < 70; i++) {
    const one = createSocket('udp4')
    let answered = false
    one.on('message', () => { answered = true })
    while (!answered) {
      one.send('z', udpPort, '127.0.0.1')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    one.close()
  }
  t.ok((await outcomes())['udp shed evicted']! > 0)
})
