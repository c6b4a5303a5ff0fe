// The form of spec.json in a real browser: every field can be reached, every choice switched, secrets are masked, and
// what a person enters is what check takes. Its arguments are a file with what to use, and where the picture goes.
import { readFileSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const { spec, connector, browser: executablePath, dir, connection, picture } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const schema = JSON.parse(readFileSync(spec, 'utf8')).connectionSpecification
let passed = 0
let failed = 0

function expect(what, holds, detail = '') {
  if (holds) passed++
  else { failed++; console.log(`FAILED: ${what} ${detail}`) }
}

await build({
  entryPoints: [join(dir, 'form.jsx')], outfile: join(dir, 'form.js'), bundle: true, jsx: 'automatic', logLevel: 'error',
  define: { 'process.env.NODE_ENV': '"production"' },
})
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
const page = await browser.newPage({ viewport: { width: 720, height: 900 } })
page.setDefaultTimeout(10_000)
const problems = []
page.on('pageerror', e => problems.push(String(e)))

async function open() {
  await page.goto('file://' + join(dir, 'page.html'))
  await page.evaluate(s => window.show(s), schema)
  await page.waitForSelector('#root_host')
}

const at = id => page.locator(`[id="${id}"]`)

async function visible(id, field, where) {
  const element = at(id)
  const there = await element.count() === 1 && await element.isVisible()
  expect(`${where} can be reached`, there, `(no visible #${id})`)
  if (!there) return
  const text = await page.locator('body').innerText()
  expect(`${where} has its title`, text.includes(field.title), field.title)
  // Markup in a description is shown as it is: its first words will do.
  expect(`${where} is described`, !!field.description && text.includes(field.description.slice(0, 20)), field.description)
  if (field.airbyte_secret) {
    const masked = await element.evaluate(e => e.type === 'password' || getComputedStyle(e).webkitTextSecurity === 'disc')
    expect(`${where} is masked`, masked)
  } else {
    expect(`${where} is not masked`, await element.evaluate(e => e.type !== 'password'))
  }
}

async function choose(name, index) {
  await at(`root_${name}__oneof_select`).selectOption(String(index))
}

async function everyField() {
  await open()
  for (const [name, field] of Object.entries(schema.properties)) {
    if (field.airbyte_hidden) {
      expect(`${name} is hidden`, !(await at(`root_${name}`).isVisible()))
      continue
    }
    if (field.type === 'array') {
      expect(`${name} can be reached`, await page.getByText(field.title, { exact: false }).first().isVisible())
      continue
    }
    if (!field.oneOf) {
      await visible(`root_${name}`, field, name)
      continue
    }
    for (const [index, option] of field.oneOf.entries()) {
      await choose(name, index)
      const chosen = await at(`root_${name}__oneof_select`).locator('option:checked').innerText()
      expect(`${name}: ${option.title} can be chosen`, chosen.includes(option.title), chosen)
      for (const [inner, innerField] of Object.entries(option.properties)) {
        if (innerField.const === undefined) await visible(`root_${name}_${inner}`, innerField, `${name}: ${option.title}: ${inner}`)
      }
    }
  }
}

async function fill(values) {
  for (const [id, value] of Object.entries(values)) await at(`root_${id}`).fill(String(value))
}

// show takes a picture of the form as it is filled in, with the values of an example.
async function show(path) {
  const before = {}
  const example = { host: 'db.example.com', port: 5432, database: 'shop', username: 'airbyte', replication_method_replication_slot: 'airbyte_slot' }
  for (const id of Object.keys(example)) before[id] = await at(`root_${id}`).inputValue()
  await fill(example)
  await page.screenshot({ path, fullPage: true })
  await fill(before)
}

async function submit() {
  await page.evaluate(() => { window.submitted = undefined })
  await page.getByRole('button', { name: 'Submit' }).click()
  return page.evaluate(() => window.submitted)
}

function check(config) {
  const file = join(dir, 'config.json')
  writeFileSync(file, JSON.stringify(config))
  const out = execFileSync(connector, ['check', '--config', file], { encoding: 'utf8' })
  return out.trim().split('\n').map(l => JSON.parse(l)).find(m => m.type === 'CONNECTION_STATUS').connectionStatus
}

// index is the place of the option whose constant has this value.
function index(name, value) {
  return schema.properties[name].oneOf.findIndex(o => Object.values(o.properties).some(p => p.const === value))
}

async function entered() {
  await open()
  expect('an empty form is not taken', await submit() === undefined)
  expect('an empty form says what is missing', (await page.locator('body').innerText()).includes("required property 'Host'"))
  await fill({ host: connection.host, port: 70000, database: connection.database, username: connection.username, password: connection.password })
  expect('a port of 70000 is not taken', await submit() === undefined)
  await fill({ port: connection.port })
  await choose('ssl_mode', index('ssl_mode', 'disable'))
  for (const method of ['Standard', 'Xmin', 'CDC']) {
    await choose('replication_method', index('replication_method', method))
    if (method === 'CDC') {
      expect('CDC without a slot is not taken', await submit() === undefined)
      await fill({ replication_method_replication_slot: connection.slot, replication_method_publication: connection.publication })
    }
    const config = await submit()
    if (method === 'CDC' && picture) await show(picture)
    expect(`${method} is taken`, config !== undefined, await page.locator('.panel-danger').allInnerTexts())
    if (!config) continue
    expect(`${method} is what was entered`, config.replication_method.method === method, JSON.stringify(config.replication_method))
    expect(`${method}: what was entered arrives`, config.host === connection.host && config.port === connection.port &&
      config.password === connection.password && config.ssl_mode.mode === 'disable', JSON.stringify({ ...config, password: '***' }))
    const status = check(config)
    expect(`${method}: check succeeds`, status.status === 'SUCCEEDED', status.message)
  }
  await fill({ password: 'not the password' })
  const status = check(await submit())
  expect('a wrong password fails', status.status === 'FAILED' && status.message.includes('28P01'), status.message)
  const pem = '-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----'
  await choose('ssl_mode', index('ssl_mode', 'verify-ca'))
  await fill({ ssl_mode_ca_certificate: pem })
  const certified = await submit()
  expect('lines of a certificate arrive', certified?.ssl_mode.ca_certificate === pem, JSON.stringify(certified?.ssl_mode))
}

try {
  await everyField()
  await entered()
  expect('the page has no errors', problems.length === 0, problems.join('; '))
} finally {
  await browser.close()
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
