import fc from 'fast-check'
import t from 'tap'
import { malformed, truncated, valid } from './corpus.ts'
import { ours, theirs } from './oracle.ts'

// llhttp, through node:http, is the oracle: what it refuses we refuse as well, and where both accept, both tell the same.
// The other way round is free: bare LFs, repeated Content-Length, folded lines and more are refused here alone.

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')

function cut (whole: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((where) => where % (whole.length + 1)).sort((a, b) => a - b), whole.length]
  return at.slice(1).map((end, i) => whole.subarray(at[i], end)).filter((piece) => piece.length > 0)
}

async function agree (whole: Buffer, cuts: readonly number[], method: string): Promise<boolean> {
  const pieces = cut(whole, cuts)
  const told = ours(pieces, method)
  if (told === undefined) return false
  const expected = await theirs(pieces, method)
  const where = `${method} ${JSON.stringify(whole.toString('latin1'))} cut at ${cuts.join(' ')}`
  if (expected === undefined) throw new Error(`accepted what llhttp refuses: ${where}`)
  if (JSON.stringify(told) !== JSON.stringify(expected)) throw new Error(`told differently: ${where}\n${JSON.stringify(told)}\n${JSON.stringify(expected)}`)
  return true
}

t.test('the corpus: what is valid is told as llhttp tells it, byte by byte too; the rest is refused', async (t) => {
  for (const text of valid) {
    const whole = bytes(text)
    t.ok(await agree(whole, [], 'GET'), JSON.stringify(text.slice(0, 60)))
    t.ok(await agree(whole, Array.from({ length: whole.length }, (_, i) => i), 'GET'), 'byte by byte')
  }
  for (const text of [...malformed, ...truncated]) {
    t.equal(ours([bytes(text)], 'GET'), undefined, JSON.stringify(text.slice(0, 60)))
    t.equal(ours([...bytes(text.slice(0, 3000)), ...bytes(text.slice(3000))].map((byte) => Buffer.from([byte])), 'GET'), undefined)
  }
})

// Parts of a response, good ones first (fast-check shrinks towards them), then what goes wrong in the wild and in attacks.
const statusLine = fc.constantFrom('HTTP/1.1 200 OK', 'HTTP/1.1 404 Not Found', 'HTTP/1.0 200 OK', 'HTTP/1.1 204 No', 'HTTP/1.1 304 Not', 'HTTP/1.1 200 ', 'HTTP/1.1 205 x',
  'HTTP/1.1 999 z', 'HTTP/1.1 100 c', 'HTTP/1.1 103 e', 'HTTP/1.1 101 s', 'HTTP/1.1 200', 'HTTP/1.1 099 x', 'HTTP/2.0 200 OK', 'HTTP/1.1 200 a\tb\xff', 'HTTP/1.1 200  OK')
const fieldName = fc.constantFrom('X', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Keep-Alive', 'Set-Cookie', 'Trailer', 'Upgrade', 'content-length', 'TRANSFER-ENCODING', 'a_b', 'X ', ' X', '', 'X(', 'Content-Length ')
const fieldValue = fc.constantFrom('a', '5', '0', 'chunked', 'close', 'keep-alive', '', '5 ', '\t5', 'Chunked', 'gzip, chunked', 'chunked, gzip', '5, 5', '-1', '+5', '05', '0x5', 'timeout=5', '\xe9', 'a\0b', 'a\x7f', 'keep-alive, close', 'upgrade', '99999999999999999999', 'identity')
const eol = fc.oneof({ weight: 40, arbitrary: fc.constant('\r\n') }, { weight: 1, arbitrary: fc.constantFrom('\n', '\r', '\r\r\n', ' \r\n', '\r\n ') })
const field = fc.tuple(fieldName, fc.constantFrom(': ', ':', ' : ', ':\t', ''), fieldValue, eol).map((parts) => parts.join(''))
const goodField = fc.constantFrom('Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'X: y\r\n', 'Connection: close\r\n', 'Content-Length: 0\r\n', 'Set-Cookie: a=b\r\n')
const fields = fc.array(fc.oneof({ weight: 5, arbitrary: goodField }, { weight: 1, arbitrary: field }), { maxLength: 4 }).map((list) => list.join(''))
const head = fc.tuple(statusLine, eol, fields, eol).map((parts) => parts.join(''))
const size = fc.constantFrom('5', '0', '05', 'A', 'a', '1', '5;x', '5;x=y', '5;x="\\""', '5;', '5 ', ' 5', '-5', '0x5', 'G', '', '00000000000000005', 'fffffffffffff', '5;\x01')
const chunk = fc.oneof(fc.constantFrom('5\r\nhello\r\n', '1\r\nx\r\n', '0\r\n\r\n', '0\r\nT: v\r\n\r\n'), fc.tuple(size, eol, fc.constantFrom('hello', '', 'x', '0123456789', '\r\n'), eol).map((parts) => parts.join('')))
const body = fc.oneof(fc.constantFrom('hello', '', 'hell', 'hello!'), fc.array(chunk, { maxLength: 4 }).map((list) => list.join('')))
const method = fc.constantFrom('GET', 'HEAD', 'POST', 'OPTIONS')
const response = fc.tuple(fc.array(fc.tuple(fc.constantFrom('HTTP/1.1 103 e\r\n', 'HTTP/1.1 100 c\r\n'), fields, eol).map((parts) => parts.join('')), { maxLength: 2, depthIdentifier: 'interim' }), head, body)
  .map(([interim, head, body]) => interim.join('') + head + body)
/** One byte put in, taken out or changed. */
const mutation = fc.record({ at: fc.nat(), what: fc.constantFrom('insert', 'delete', 'change'), byte: fc.constantFrom(13, 10, 32, 9, 0, 58, 59, 44, 48, 49, 45, 43, 34, 127, 255, 97) })

function mutate (whole: Buffer, { at, what, byte }: { at: number; what: string; byte: number }): Buffer {
  if (whole.length === 0) return whole
  const i = at % whole.length
  return Buffer.concat([whole.subarray(0, i), ...(what === 'delete' ? [] : [Buffer.from([byte])]), whole.subarray(what === 'insert' ? i : i + 1)])
}

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 2500)

t.test('responses put together from good and bad parts: never more accepted than by llhttp, and never told differently', async (t) => {
  let accepted = 0
  await fc.assert(fc.asyncProperty(response, fc.array(fc.nat(200), { maxLength: 4 }), method, async (text, cuts, method) => {
    if (await agree(bytes(text), cuts, method)) accepted++
  }), { numRuns: RUNS })
  t.ok(accepted > RUNS / 20, `${accepted} of ${RUNS} were acceptable: the generator reaches both sides`)
})

t.test('valid responses with a few bytes changed', async (t) => {
  let accepted = 0
  const mutations = fc.array(mutation, { minLength: 1, maxLength: 3 })
  const short = valid.filter((text) => text.length < 1000)
  const cuts = fc.array(fc.nat(200), { maxLength: 3 })
  await fc.assert(fc.asyncProperty(fc.constantFrom(...short), mutations, cuts, method, async (text, mutations, cuts, method) => {
    if (await agree(mutations.reduce(mutate, bytes(text)), cuts, method)) accepted++
  }), { numRuns: RUNS })
  t.ok(accepted > RUNS / 20, `${accepted} of ${RUNS} were acceptable`)
})
