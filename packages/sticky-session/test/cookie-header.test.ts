import fc from 'fast-check'
import t from 'tap'
import { DUPLICATED, editFields, editPairs, readCookie } from '../src/cookie-header.ts'
import { deletes, parseSetCookie } from '../src/set-cookie.ts'

const name = fc.constantFrom('a', 'b', 'ab', 'headgate-web', 'A')
const value = fc.stringMatching(/^[\w"%~/+-]*$/)
const pairs = fc.array(fc.tuple(name, value), { maxLength: 6 })
const write = (list: [string, string][]): string => list.map(([name, value]) => `${name}=${value}`).join('; ')

t.test('reading: the one value, or none, or that there are several', async (t) => {
  fc.assert(fc.property(pairs, name, (list, wanted) => {
    const values = list.filter(([name]) => name === wanted).map(([, value]) => value)
    const expected = values.length > 1 ? DUPLICATED : values[0]
    if (readCookie(write(list), wanted) !== expected) throw new Error(write(list))
  }))
  t.equal(readCookie('a=1;b=2', 'b'), '2')
  t.equal(readCookie('  a=1 ; b = 2', 'a'), '1')
  t.equal(readCookie('a; a=1', 'a'), '1', 'a pair without a value is none')
  t.equal(readCookie('xa=1; a=2', 'a'), '2')
})

t.test('editing: what is taken away or changed, and every other byte as it was', async (t) => {
  fc.assert(fc.property(pairs, name, (list, removed) => {
    const headers = ['Host', 'x', 'Cookie', write(list)]
    editFields(headers, (field) => editPairs(field, (name, value) => name === removed ? undefined : value))
    const left = list.filter(([name]) => name !== removed)
    const expected = left.length === 0 && list.length > 0 ? ['Host', 'x'] : ['Host', 'x', 'Cookie', write(left)]
    if (JSON.stringify(headers) !== JSON.stringify(expected)) throw new Error(JSON.stringify(headers))
  }))
  fc.assert(fc.property(fc.string(), (text) => {
    const headers = ['cookie', text]
    editFields(headers, (field) => editPairs(field, (_name, value) => value))
    if (headers[1] !== text) throw new Error('changed')
  }))
  const several = ['cookie', 'a=1', 'COOKIE', 'b=2; a=3', 'x', 'y']
  editFields(several, (field) => editPairs(field, (name, value) => name === 'a' ? undefined : `${value}0`))
  t.same(several, ['COOKIE', 'b=20', 'x', 'y'], 'HTTP/2 clients send several fields')
})

t.test('Set-Cookie: name, value, and whether it deletes', async (t) => {
  t.same(parseSetCookie('a=b=c; Path=/'), { name: 'a', value: 'b=c', attributes: '; Path=/' })
  t.equal(parseSetCookie('nothing; Path=/a=b'), undefined)
  const now = Date.parse('2026-01-01T00:00:00Z')
  const deleting = (field: string): boolean => deletes(parseSetCookie(field)!, now)
  for (const field of ['a=', 'a=""; Path=/', 'a=1; Max-Age=0', 'a=1; max-age=-5', 'a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT']) t.ok(deleting(field), field)
  for (const field of ['a=1', 'a=1; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT', 'a=1; Expires=Fri, 01 Jan 2027 00:00:00 GMT']) t.notOk(deleting(field), field)
})
