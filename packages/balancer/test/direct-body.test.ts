import { type ServerResponse, createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import t from 'tap'
import { DirectBody } from '../src/direct-body.ts'
import { until } from './helpers.ts'

const turn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })

/** A response whose head is set, to a client that waits. */
async function respond (t: { teardown (action: () => unknown): void }): Promise<{ response: ServerResponse; heard: () => string }> {
  const server = createServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  let text = ''
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').on('data', (data) => { text += data.toString('latin1') }).on('error', () => {})
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  const response = await new Promise<ServerResponse>((resolve) => { server.once('request', (_request, came) => { resolve(came) }) })
  response.writeHead(200, { 'content-length': 5 })
  return { response, heard: () => text }
}

t.test('a short body that waits for its turn is not written to a client that has left', async (t) => {
  const { response } = await respond(t)
  new DirectBody(response, true, () => {}, undefined).write(Buffer.from('hello'), true)
  response.destroy()
  await turn()
  t.notOk(response.writableEnded)
  t.notOk(response.headersSent && (response as { _headerSent?: boolean })._headerSent)
})

t.test('nor once somebody else has ended the response', async (t) => {
  const { response, heard } = await respond(t)
  new DirectBody(response, true, () => {}, undefined).write(Buffer.from('hello'), true)
  response.end('other')
  await new Promise((resolve) => { process.nextTick(resolve) })
  t.equal(response.socket, null)
  await turn()
  await until(() => heard().endsWith('other'))
  t.notMatch(heard(), /hello/)
})
