import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { skipWithout } from '../../../tools/system.mjs'
import { FakeClock } from '../../core/test/clock.ts'
import { encode, parse } from '../src/ocsp/der.ts'
import { goodUntil, ocspRequest } from '../src/ocsp/message.ts'
import { Authority, type Pair } from './certificates.ts'
import { run, site, until } from './helpers.ts'

const skip = skipWithout('openssl')

t.test('what is encoded is parsed again, and what is cut off is refused', async (t) => {
  fc.assert(fc.property(fc.nat(255), fc.uint8Array({ maxLength: 70_000, size: 'max' }), (tag, bytes) => {
    const whole = encode(tag, Buffer.from(bytes))
    const [element, ...rest] = parse(Buffer.concat([whole, encode(5)]))
    return element!.tag === tag && element!.content.equals(bytes) && element!.whole.equals(whole) && rest.length === 1
  }), { numRuns: 30 })
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
    try {
      return parse(Buffer.from(bytes)).reduce((sum, { whole }) => sum + whole.length, 0) === bytes.length
    } catch (error) {
      return error instanceof RangeError
    }
  }))
  t.pass('all of them')
})

t.test("openssl's responder is asked, its answer stapled, renewed, and none that is not good", { skip }, async (t) => {
  const authority = new Authority(t)
  const clock = new FakeClock()
  clock.time = Date.now() + 60_000
  let [asked, status] = [0, 200]
  const responder = createServer((request, response) => {
    asked++
    if (status !== 200) return response.writeHead(status).end()
    void request.toArray().then((chunks) => {
      writeFileSync(authority.path('request.der'), Buffer.concat(chunks as Buffer[]))
      execFileSync('openssl', ['ocsp', '-index', 'index.txt', '-CA', 'ca.pem', '-rsigner', 'ca.pem', '-rkey', 'ca.key', '-reqin', 'request.der', '-respout', 'response.der', '-ndays', '1'], { cwd: authority.folder, stdio: 'ignore' })
      response.end(readFileSync(authority.path('response.der')))
    })
  })
  responder.listen(0, '127.0.0.1')
  await once(responder, 'listening')
  t.teardown(() => { responder.close() })
  const url = `http://127.0.0.1:${(responder.address() as AddressInfo).port}`
  const issue = (name: string): Pair => {
    const pair = authority.issue([`${name}.example`], { extensions: [`authorityInfoAccess=OCSP;URI:${url}`, 'tlsfeature=status_request'] })
    return { ...pair, cert: pair.cert + authority.ca, files: pair.files }
  }
  const [a, b] = [issue('a'), issue('b')]
  const x509 = new X509Certificate(a.cert)
  appendFileSync(authority.path('index.txt'), `V\t491231235959Z\t\t${x509.serialNumber}\tunknown\t/CN=a.example\n`)
  const warnings: string[] = []
  const log = { logger: { level: 'warn', stream: { write: (line: string) => { warnings.push((JSON.parse(line) as { err?: { message: string } }).err?.message ?? '') } } } }
  const certificates = [{ name: 'a', cert: a.cert, key: a.key }, { name: 'b', cert: b.cert, key: b.key }]
  const { port } = await site(t, { clock, certificates }, undefined, log)
  await until(() => asked === 2 && warnings.length > 0)
  t.same(warnings, ['the OCSP responder does not know the certificate'])
  const client = (name: string, ...args: string[]): Promise<string> =>
    run('openssl', ['s_client', '-status', '-connect', `127.0.0.1:${port}`, '-servername', `${name}.example`, '-CAfile', authority.path('ca.pem'), ...args])
  for (const version of ['-tls1_2', '-tls1_3']) {
    let text = ''
    await until(async () => /OCSP Response Status: successful/.test(text = await client('a', version)))
    t.match(text, /Cert Status: good/, version)
  }
  t.match(await client('b'), /OCSP response: no response sent/)

  status = 503
  clock.advance(12 * 3_600_000 + 60_000)
  await until(() => warnings.includes('the OCSP responder answered 503'))
  t.match(await client('a'), /Cert Status: good/, 'the last one serves on')
  clock.advance(86_400_000)
  t.match(await client('a'), /no response sent/, 'until its end')

  const response = readFileSync(authority.path('response.der'))
  const issuer = new X509Certificate(authority.ca)
  t.throws(() => goodUntil(response, x509, issuer, Date.now()), /for another certificate|does not know/)
  t.throws(() => goodUntil(Buffer.from('30030a0106', 'hex'), x509, issuer, 0), /the OCSP responder says: unauthorized/)
  t.throws(() => goodUntil(Buffer.from('3003', 'hex'), x509, issuer, 0), /cut off/)
  writeFileSync(authority.path('own.der'), ocspRequest(x509, issuer))
  t.match(execFileSync('openssl', ['ocsp', '-reqin', 'own.der', '-req_text'], { cwd: authority.folder }).toString(), new RegExp(`Serial Number: 0*${x509.serialNumber.replace(/^0+/, '')}`, 'i'))
  const off = await site(t, { certificates, stapling: false })
  t.match(await run('openssl', ['s_client', '-status', '-connect', `127.0.0.1:${off.port}`, '-servername', 'a.example']), /no response sent/)
})
