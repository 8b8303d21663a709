import { readFileSync } from 'node:fs'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { skipWithout } from '../tools/system.mjs'
import { ready, start } from './processes.ts'

const script = fileURLToPath(new URL('../examples/site/start.mjs', import.meta.url))
const run = promisify(execFile)

interface Answer { readonly status: number; readonly fields: IncomingMessage['headers']; readonly body: string }

/** The example as its users start it, and clients for it. */
async function site (t: Test) {
  const process = await ready(start(t, [globalThis.process.execPath, script], { LISTEN: '127.0.0.1:0', REDIRECT: '127.0.0.1:0' }))
  const port = Number(new URL(process.url).port)
  const folder = /--cacert (\S+)\/ca\.pem/.exec(process.stderr())![1]!
  const ca = readFileSync(`${folder}/ca.pem`, 'utf8')
  const curl = async (host: string, path: string, ...args: string[]): Promise<string> =>
    (await run('curl', ['-sS', '--cacert', `${folder}/ca.pem`, '--connect-to', `::127.0.0.1:${port}`, ...args, `https://${host}${path}`])).stdout
  /** Over HTTP/1.1, as a client of this address. */
  const from = async (address: string, path: string): Promise<Answer> => {
    const asked = httpsRequest({ host: '127.0.0.1', port, localAddress: address, agent: false, ca, servername: 'shop.example', path, headers: { host: 'shop.example' } }).end()
    const [response] = await once(asked, 'response') as [IncomingMessage]
    response.setEncoding('utf8')
    return { status: response.statusCode!, fields: response.headers, body: (await response.toArray()).join('') }
  }
  return { process, port, ca, curl, from }
}

t.test('two HTTPS sites with a canary, a sticky login, cached files and gRPC, from one file', { skip: skipWithout('openssl', 'curl') }, async (t) => {
  const { process, port, ca, curl, from } = await site(t)

  await t.test('each site shows its own certificate; an unknown one gets an alert', async (t) => {
    const shown = async (servername: string): Promise<string> => {
      const socket = connect({ port, servername, ca })
      await once(socket, 'secureConnect')
      const { subject } = socket.getPeerCertificate()
      socket.destroy()
      return String(subject.CN)
    }
    t.equal(await shown('shop.example'), 'shop.example')
    t.equal(await shown('api.example'), 'api.example')
    await t.rejects(shown('other.example'), { code: 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME' })
    t.equal(await curl('shop.example', '/', '-o', '/dev/null', '-w', '%{http_version} %{http_code}'), '2 200')
    t.match(await curl('shop.example', '/', '--http1.1', '-D', '-'), /^HTTP\/1\.1 200 .*strict-transport-security: max-age=63072000/si)
    t.equal(await curl('api.example', '/'), 'This host speaks gRPC.')
    const redirect = process.stdout().split('\n').find((line) => line.includes('redirecting to HTTPS'))!
    const { address } = JSON.parse(redirect) as { address: string }
    const { statusCode, headers } = await request(`${address}/x?y=1`, { headers: { host: 'shop.example' } })
    t.match({ statusCode, headers }, { statusCode: 308, headers: { location: `https://shop.example:${port}/x?y=1` } })
  })

  await t.test('one client in five is in the canary, and stays there', async (t) => {
    const clients = Array.from({ length: 60 }, (_, index) => `127.0.0.${index + 2}`)
    const version = async (client: string): Promise<string> => /<p>(\w+) version/.exec((await from(client, '/')).body)![1]!
    const first: string[] = []
    for (const client of clients) first.push(await version(client))
    const again: string[] = []
    for (const client of clients) again.push(await version(client))
    t.same(again, first)
    const canaries = first.filter((name) => name === 'next').length
    // The hash is the same in every run: this is no matter of luck.
    t.ok(canaries >= 6 && canaries <= 20, `${canaries} of 60`)
  })

  await t.test('who has logged in stays with the process that knows it', async (t) => {
    const agent = new Agent({ allowH2: true, connect: { ca, servername: 'shop.example' } })
    t.teardown(() => agent.close())
    const browser = (): { go (path: string, form?: string): Promise<{ status: number; body: string }> } => {
      const jar = new Map<string, string>()
      return {
        async go (path, form) {
          const { statusCode, headers, body } = await request(`https://127.0.0.1:${port}${path}`, {
            dispatcher: agent, method: form === undefined ? 'GET' : 'POST', body: form ?? null,
            headers: {
              host: 'shop.example', cookie: [...jar].map((pair) => pair.join('=')).join('; '),
              ...form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }
            }
          })
          for (const line of [headers['set-cookie'] ?? []].flat()) {
            const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
            jar.set(name!, value!)
          }
          return { status: statusCode, body: await body.text() }
        }
      }
    }
    const visitors = await Promise.all(Array.from({ length: 4 }, async (_, index) => {
      const visitor = browser()
      await visitor.go('/account/')
      t.equal((await visitor.go('/account/login', `user=visitor${index}`)).status, 303)
      return visitor
    }))
    const processes = new Set<string>()
    for (let round = 0; round < 5; round++) {
      for (const [index, visitor] of visitors.entries()) {
        const { body } = await visitor.go('/account/')
        t.match(body, `Hello visitor${index}, you are logged in`)
        processes.add(/This is process (\w+ \d)/.exec(body)![1]!)
      }
    }
    t.same([...processes].sort(), ['accounts 1', 'accounts 2'], 'both have work')
  })

  await t.test('files come from the cache', async (t) => {
    const status = async (...args: string[]): Promise<string> => /^cache-status: (.*)\r$/mi.exec(await curl('shop.example', '/assets/site.css', '-D', '-', ...args))![1]!
    t.match(await status(), /fwd=uri-miss.*stored/)
    t.match(await status(), /^headgate; hit/)
    t.match(await status('--http1.1'), /^headgate; hit/)
    const [, etag] = /^etag: (.*)\r$/mi.exec(await curl('shop.example', '/assets/site.css', '-D', '-'))!
    t.match(await curl('shop.example', '/assets/site.css', '-D', '-', '-H', `if-none-match: ${etag!}`), /^HTTP\/2 304 /)
    t.match(await curl('shop.example', '/', '-D', '-'), /^cache-status: headgate; fwd=.*\r$/mi, 'pages say that they are not to be kept')
  })

  await t.test('gRPC: one answer, several, and an error with its status', async (t) => {
    const serialize = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
    const deserialize = (bytes: Buffer): unknown => JSON.parse(bytes.toString()) as unknown
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createSsl(Buffer.from(ca)), {
      'grpc.ssl_target_name_override': 'api.example', 'grpc.default_authority': 'api.example'
    })
    t.teardown(() => { client.close() })
    const hello = (message: object): Promise<{ message: string; from: string }> => new Promise((resolve, reject) => {
      client.makeUnaryRequest('/helloworld.Greeter/SayHello', serialize, deserialize as never, message, (error: Error | null, answer) => {
        if (error === null) resolve(answer as never)
        else reject(error)
      })
    })
    const answers = await Promise.all(Array.from({ length: 6 }, () => hello({ name: 'World' })))
    t.same(new Set(answers.map(({ message }) => message)), new Set(['Hello World']))
    t.same([...new Set(answers.map(({ from }) => from))].sort(), ['greeter 1', 'greeter 2'], 'calls of one connection are shared')
    await t.rejects(hello({}), { code: grpc.status.INVALID_ARGUMENT, details: 'name is missing' })
    const stream = client.makeServerStreamRequest('/helloworld.Greeter/CountDown', serialize, deserialize, { from: 3 })
    t.same(await stream.toArray(), [{ left: 3 }, { left: 2 }, { left: 1 }])
  })

  process.child.kill('SIGTERM')
  t.same(await process.ended, { status: 0, signal: null })
})
