import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { upstream } from './helpers.ts'

interface Seen { outcomes: Record<string, number>; checks: number; ready: boolean; changes: number }

t.test('a process that can open no more files blames no upstream, in requests nor in checks', { skip: process.platform !== 'linux' }, async (t) => {
  const held: { end (): void }[] = []
  const { port: origin } = await upstream(t, (request, response) => {
    if (request.url === '/') response.end('fine')
    else held.push(response)
  })
  const flags = [`--import=${new URL('../../../tools/strip-types.mjs', import.meta.url).href}`, '--conditions=@headgate/source']
  const script = fileURLToPath(new URL('fixtures/few-files.ts', import.meta.url))
  const child = spawn('sh', ['-c', 'ulimit -n 200; exec "$@"', 'sh', process.execPath, ...flags, script, String(origin)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  t.teardown(async () => {
    child.stdin.end()
    await gone
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const port = Number((await lines.next()).value)
  const ask = async (text: string): Promise<Seen> => {
    child.stdin.write(`${text}\n`)
    return JSON.parse((await lines.next()).value as string) as Seen
  }
  const texts: string[] = []
  const sockets: Socket[] = []
  for (let i = 0; i < 60; i++) {
    const socket = connect(port, '127.0.0.1').setEncoding('latin1')
    socket.on('error', () => {}).on('data', (text: string) => { texts.push(text) })
    socket.write('GET /held HTTP/1.1\r\nHost: x\r\n\r\n')
    sockets.push(socket)
  }
  let seen = await ask('')
  while (seen.outcomes['shed no-sockets'] === undefined) seen = await ask('')
  // Its connections stay open, so that checks find no file either.
  t.same(Object.keys(seen.outcomes), ['shed no-sockets'])
  t.match(texts[0], /^HTTP\/1\.1 503 [^]*retry-after: 1[^]*HG_POOL_NO_SOCKETS/i)
  await new Promise((resolve) => setTimeout(resolve, 500))
  seen = await ask('')
  t.match(seen, { ready: true, changes: 0 }, 'checks that could not be made say nothing')
  const before = (await ask('free')).checks
  while ((seen = await ask('')).checks <= before);
  t.match(seen, { ready: true, changes: 0 }, 'and go on when they can')
  for (const response of held) response.end()
  for (const socket of sockets) socket.destroy()
})
