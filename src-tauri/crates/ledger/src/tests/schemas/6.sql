PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO "_sqlx_migrations" VALUES(1,'ledger','2026-11-26 12:47:23',1,X'5415FFD32C22019E928F0DD76D88CEBAA4EAC569C5106DAE8589A186C1CBCCA33043DD37099D1AB60B8ED4C55454B939',983915);
INSERT INTO "_sqlx_migrations" VALUES(2,'told','2026-11-26 12:47:23',1,X'AC2C175CC63292A12BB7C5BBEBCA8F65A8A47942ACD59C0CC802EE47ADA71C4D35411E60943C1DD7F33B26E295701A0D',6217163);
INSERT INTO "_sqlx_migrations" VALUES(3,'sums','2026-11-26 12:47:23',1,X'DD45F9BE19F3DC6C5DD609E55906C971415BFD6D2DB68EF732B8D2CD8BCE5EB04819B8A282FFCA89007476BCCFB8BB4D',1);
INSERT INTO "_sqlx_migrations" VALUES(4,'repriced','2026-11-26 12:47:23',1,X'536D836A6FC8EC92BB73156212916AF9544D9E955AE5A17A63C9B725EF0E689E32C062B6EEBE9F358381AAFE405946FB',1);
INSERT INTO "_sqlx_migrations" VALUES(5,'bundles','2026-11-26 12:47:23',1,X'E1BA68D515A4F4DA32CBC35F8BB387AEDE5769232169705398C1AE5D6CB9732994D9B9E02769083A137B5C6C01BA4793',1);
INSERT INTO "_sqlx_migrations" VALUES(6,'saved','2026-11-27 12:47:23',1,X'CE43AE1F1A4292DCD06944242F7797F1FE0D7F83725605556F1BF13F4C215C608B17CA9C389E6E8F74D8E83349F829C8',1);
CREATE TABLE attempt (
    call_id      TEXT    NOT NULL REFERENCES entry (call_id),
    number       INTEGER NOT NULL,
    upstream     TEXT    NOT NULL,
    opened_at    INTEGER NOT NULL,
    status       INTEGER,
    request_id   TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    maybe_billed INTEGER NOT NULL CHECK (maybe_billed IN (0, 1)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "attempt" VALUES('01M86FYZ800000000000000001',1,'anthropic',1795514400000,200,'req_3','',0);
INSERT INTO "attempt" VALUES('01M86PTPG00000000000000000',1,'anthropic',1795521600000,200,'req_01M86PTPG00000000000000000','',0);
INSERT INTO "attempt" VALUES('01M86PYW980000000000000001',1,'anthropic',1795521737000,200,'req_01M86PYW980000000000000001','',0);
INSERT INTO "attempt" VALUES('01M86Q322G0000000000000002',1,'anthropic',1795521874000,200,'req_01M86Q322G0000000000000002','',0);
INSERT INTO "attempt" VALUES('01M86QBDN00000000000000004',1,'anthropic',1795522148000,200,'req_01M86QBDN00000000000000004','',0);
INSERT INTO "attempt" VALUES('01M86QFKE80000000000000005',1,'anthropic',1795522285000,200,'req_01M86QFKE80000000000000005','',0);
INSERT INTO "attempt" VALUES('01M86QKS7G0000000000000006',1,'anthropic',1795522422000,200,'req_01M86QKS7G0000000000000006','',0);
INSERT INTO "attempt" VALUES('01M86QKS7G0000000000000006',2,'anthropic',1795522422000,200,'req_01M86QKS7G0000000000000006','',0);
INSERT INTO "attempt" VALUES('01M86QQZ0R0000000000000007',1,'anthropic',1795522559000,200,'req_01M86QQZ0R0000000000000007','',0);
INSERT INTO "attempt" VALUES('01M86QW4T00000000000000008',1,'anthropic',1795522696000,200,'req_01M86QW4T00000000000000008','',0);
INSERT INTO "attempt" VALUES('01M86R0AK80000000000000009',1,'anthropic',1795522833000,200,'req_01M86R0AK80000000000000009','',0);
INSERT INTO "attempt" VALUES('01M86R4GCG000000000000000A',1,'anthropic',1795522970000,200,'req_01M86R4GCG000000000000000A','',0);
INSERT INTO "attempt" VALUES('01M86RCVZ0000000000000000C',1,'anthropic',1795523244000,200,'req_01M86RCVZ0000000000000000C','',0);
INSERT INTO "attempt" VALUES('01M86RH1R8000000000000000D',1,'anthropic',1795523381000,200,'req_01M86RH1R8000000000000000D','',0);
INSERT INTO "attempt" VALUES('01M86RN7HG000000000000000E',1,'anthropic',1795523518000,200,'req_01M86RN7HG000000000000000E','',0);
INSERT INTO "attempt" VALUES('01M86RN7HG000000000000000E',2,'anthropic',1795523518000,200,'req_01M86RN7HG000000000000000E','',0);
INSERT INTO "attempt" VALUES('01M86RSDAR000000000000000F',1,'anthropic',1795523655000,200,'req_01M86RSDAR000000000000000F','',0);
INSERT INTO "attempt" VALUES('01M86RXK40000000000000000G',1,'anthropic',1795523792000,200,'req_01M86RXK40000000000000000G','',0);
INSERT INTO "attempt" VALUES('01M86S1RX8000000000000000H',1,'anthropic',1795523929000,200,'req_01M86S1RX8000000000000000H','',0);
INSERT INTO "attempt" VALUES('01M86S5YPG000000000000000J',1,'anthropic',1795524066000,200,'req_01M86S5YPG000000000000000J','',0);
INSERT INTO "attempt" VALUES('01M86SEA90000000000000000M',1,'anthropic',1795524340000,200,'req_01M86SEA90000000000000000M','',0);
INSERT INTO "attempt" VALUES('01M86SJG28000000000000000N',1,'anthropic',1795524477000,200,'req_01M86SJG28000000000000000N','',0);
INSERT INTO "attempt" VALUES('01M86SPNVG000000000000000P',1,'anthropic',1795524614000,200,'req_01M86SPNVG000000000000000P','',0);
INSERT INTO "attempt" VALUES('01M86SPNVG000000000000000P',2,'anthropic',1795524614000,200,'req_01M86SPNVG000000000000000P','',0);
INSERT INTO "attempt" VALUES('01M86STVMR000000000000000Q',1,'anthropic',1795524751000,200,'req_01M86STVMR000000000000000Q','',0);
INSERT INTO "attempt" VALUES('01M86SZ1E0000000000000000R',1,'anthropic',1795524888000,200,'req_01M86SZ1E0000000000000000R','',0);
INSERT INTO "attempt" VALUES('01M86T3778000000000000000S',1,'anthropic',1795525025000,200,'req_01M86T3778000000000000000S','',0);
INSERT INTO "attempt" VALUES('01M86T7D0G000000000000000T',1,'anthropic',1795525162000,200,'req_01M86T7D0G000000000000000T','',0);
INSERT INTO "attempt" VALUES('01M86TFRK0000000000000000W',1,'anthropic',1795525436000,200,'req_01M86TFRK0000000000000000W','',0);
INSERT INTO "attempt" VALUES('01M86TKYC8000000000000000X',1,'anthropic',1795525573000,200,'req_01M86TKYC8000000000000000X','',0);
INSERT INTO "attempt" VALUES('01M86TR45G000000000000000Y',1,'anthropic',1795525710000,200,'req_01M86TR45G000000000000000Y','',0);
INSERT INTO "attempt" VALUES('01M86TR45G000000000000000Y',2,'anthropic',1795525710000,200,'req_01M86TR45G000000000000000Y','',0);
INSERT INTO "attempt" VALUES('01M86TW9YR000000000000000Z',1,'anthropic',1795525847000,200,'req_01M86TW9YR000000000000000Z','',0);
INSERT INTO "attempt" VALUES('01M86V0FR00000000000000010',1,'anthropic',1795525984000,200,'req_01M86V0FR00000000000000010','',0);
INSERT INTO "attempt" VALUES('01M86V4NH80000000000000011',1,'anthropic',1795526121000,200,'req_01M86V4NH80000000000000011','',0);
INSERT INTO "attempt" VALUES('01M86V8VAG0000000000000012',1,'anthropic',1795526258000,200,'req_01M86V8VAG0000000000000012','',0);
INSERT INTO "attempt" VALUES('01M86VH6X00000000000000014',1,'anthropic',1795526532000,200,'req_01M86VH6X00000000000000014','',0);
INSERT INTO "attempt" VALUES('01M86VNCP80000000000000015',1,'anthropic',1795526669000,200,'req_01M86VNCP80000000000000015','',0);
INSERT INTO "attempt" VALUES('01M86VSJFG0000000000000016',1,'anthropic',1795526806000,200,'req_01M86VSJFG0000000000000016','',0);
INSERT INTO "attempt" VALUES('01M86VSJFG0000000000000016',2,'anthropic',1795526806000,200,'req_01M86VSJFG0000000000000016','',0);
INSERT INTO "attempt" VALUES('01M86VXR8R0000000000000017',1,'anthropic',1795526943000,200,'req_01M86VXR8R0000000000000017','',0);
CREATE TABLE bundle_device (
    device     TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    public_key BLOB    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE bundle_month (
    device   TEXT    NOT NULL REFERENCES bundle_device (device) ON DELETE CASCADE,
    month    TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    digest   BLOB    NOT NULL,
    PRIMARY KEY (device, month)
) STRICT, WITHOUT ROWID;
CREATE TABLE bundle_row (
    device                TEXT    NOT NULL,
    month                 TEXT    NOT NULL,
    day                   INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    tenant                TEXT    NOT NULL,
    upstream              TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    source                TEXT    NOT NULL,
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL,
    unpriced_calls        INTEGER NOT NULL,
    PRIMARY KEY (device, month, day, client, person, project, tenant, upstream, model, source),
    FOREIGN KEY (device, month) REFERENCES bundle_month (device, month) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE cut (
    through INTEGER PRIMARY KEY,
    since   INTEGER NOT NULL UNIQUE,
    chain   BLOB    NOT NULL
) STRICT;
CREATE TABLE day_sum (
    day                   INTEGER NOT NULL,
    series                INTEGER NOT NULL REFERENCES series (id),
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL, cache_hits INTEGER NOT NULL DEFAULT 0, cache_misses INTEGER NOT NULL DEFAULT 0, saved_nanos INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (day, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
    seq                   INTEGER PRIMARY KEY,
    call_id               TEXT    NOT NULL UNIQUE,
    started_at            INTEGER NOT NULL,
    ended_at              INTEGER NOT NULL,
    client                TEXT    NOT NULL,
    person                TEXT    NOT NULL,
    project               TEXT    NOT NULL,
    tenant                TEXT    NOT NULL,
    session               TEXT    NOT NULL,
    agent                 TEXT    NOT NULL,
    tags                  TEXT    NOT NULL CHECK (json_valid(tags)),
    class                 TEXT    NOT NULL,
    model                 TEXT    NOT NULL,
    max_tokens            INTEGER,
    stream                INTEGER NOT NULL CHECK (stream IN (0, 1)),
    body_bytes            INTEGER NOT NULL,
    upstream              TEXT    NOT NULL,
    request_id            TEXT    NOT NULL,
    attempts              INTEGER NOT NULL,
    status                INTEGER NOT NULL,
    outcome               TEXT    NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    batch                 INTEGER NOT NULL CHECK (batch IN (0, 1)),
    fast                  INTEGER NOT NULL CHECK (fast IN (0, 1)),
    us_only               INTEGER NOT NULL CHECK (us_only IN (0, 1)),
    cost_nanos            INTEGER,
    price_id              TEXT    NOT NULL,
    estimated             INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    source                TEXT    NOT NULL,
    waited_ms             INTEGER NOT NULL,
    first_byte_ms         INTEGER,
    total_ms              INTEGER NOT NULL,
    cache                 TEXT    NOT NULL,
    error                 TEXT    NOT NULL,
    chain                 BLOB    NOT NULL
, account TEXT NOT NULL DEFAULT '', saved_nanos INTEGER) STRICT;
INSERT INTO "entry" VALUES(1,'01M86PTPG00000000000000000',1795521600000,1795521601500,'ci','','','','','','{"pr":"0"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86PTPG00000000000000000',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'CA7F4A4333DEE84AED480D2160BD778275587906049D1446F2BAEE54BC318A20','',NULL);
INSERT INTO "entry" VALUES(2,'01M86PYW980000000000000001',1795521737000,1795521738500,'küche','','','','','','{"pr":"1"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86PYW980000000000000001',1,200,'completed',11,0,0,0,21,0,0,0,0,1000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'F1F19BEF2D6D0DADD7D7A7BE240FB5109A8151BC3548921EC278224E5A4F3D42','',NULL);
INSERT INTO "entry" VALUES(3,'01M86Q322G0000000000000002',1795521874000,1795521875500,'night build','','','','','','{"pr":"2"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86Q322G0000000000000002',1,200,'completed',12,0,0,0,22,0,0,0,0,2000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'8413D55CC7D732286E0E9BA5EAAAC4BD48902124D8EE68C900590A5F7CDDCD43','',NULL);
INSERT INTO "entry" VALUES(4,'01M86Q77VR0000000000000003',1795522011000,1795522012500,'ci','','','','','','{"pr":"3"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'D6101B080524F46557B942B4B221CC3127FB7B14ADE84B89508ECC371AC83A2D','',NULL);
INSERT INTO "entry" VALUES(5,'01M86QBDN00000000000000004',1795522148000,1795522149500,'küche','','','','','','{"pr":"4"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QBDN00000000000000004',1,200,'completed',14,0,0,0,24,0,0,0,0,4000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'E35E6BF9FD79E85C39DB539ACA4D14A20AF5FCBD58EF12E139751E375B825D08','',NULL);
INSERT INTO "entry" VALUES(6,'01M86QFKE80000000000000005',1795522285000,1795522286500,'night build','','','','','','{"pr":"5"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86QFKE80000000000000005',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'F896558AA0260B42C19515157BA9EE18E45693FCB76C8EDC579710BDFC5B8E23','',NULL);
INSERT INTO "entry" VALUES(7,'01M86QKS7G0000000000000006',1795522422000,1795522423500,'ci','','','','','','{"pr":"6"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QKS7G0000000000000006',2,200,'completed',1006,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'66A4FF6935B88BEF4948E49F5A72A331163D15DD70AB2AFD7D91133874F418A7','',NULL);
INSERT INTO "entry" VALUES(8,'01M86QQZ0R0000000000000007',1795522559000,1795522560500,'küche','','','','','','{"pr":"7"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QQZ0R0000000000000007',1,200,'completed',17,0,0,0,27,0,0,0,0,7000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'35504F640368645E932D4432D8696A7C31E883F8BEB0F51A97E5DE7C351D7C81','',NULL);
INSERT INTO "entry" VALUES(9,'01M86QW4T00000000000000008',1795522696000,1795522697500,'night build','','','','','','{"pr":"8"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QW4T00000000000000008',1,200,'completed',18,0,0,0,28,0,0,0,0,8000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'94BFD8288FD03C040A57B8EB2C4EE12B5C40774E3FF384586CB34CD79CE17188','',NULL);
INSERT INTO "entry" VALUES(10,'01M86R0AK80000000000000009',1795522833000,1795522834500,'ci','','','','','','{"pr":"9"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86R0AK80000000000000009',1,200,'completed',19,0,0,0,29,0,0,0,0,9000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'7F9F4E9A72A72FC7E156429B5847A4390121063C7ABC8DC429E7B5B05A63F2D0','',NULL);
INSERT INTO "entry" VALUES(11,'01M86R4GCG000000000000000A',1795522970000,1795522971500,'küche','','','','','','{"pr":"10"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86R4GCG000000000000000A',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'919FF416086719BAB1EC6310A64DCA07AC46D9D8D6D871EB84C380C7D8A93D58','',NULL);
INSERT INTO "entry" VALUES(12,'01M86R8P5R000000000000000B',1795523107000,1795523108500,'night build','','','','','','{"pr":"11"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'0E21538A83C39081543304F33F898028FA826CDE4946B66416075D27BB86486B','',NULL);
INSERT INTO "entry" VALUES(13,'01M86RCVZ0000000000000000C',1795523244000,1795523245500,'ci','','','','','','{"pr":"12"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RCVZ0000000000000000C',1,200,'completed',22,0,0,0,32,0,0,0,0,12000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'2407922CB6964618F059F5CEE0CEA398A83B3C436F643C30FB46170EEF5A2D82','',NULL);
INSERT INTO "entry" VALUES(14,'01M86RH1R8000000000000000D',1795523381000,1795523382500,'küche','','','','','','{"pr":"13"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RH1R8000000000000000D',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'6F8EB6FC8A68EEE3E3077499D9D57D7AEE1214CA53E1B358F117EEBE912AD08D','',NULL);
INSERT INTO "entry" VALUES(15,'01M86RN7HG000000000000000E',1795523518000,1795523519500,'night build','','','','','','{"pr":"14"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RN7HG000000000000000E',2,200,'completed',1014,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'AC52E2558613FB6E737BD92CD43DEC68986FE625EDF843BB570B191974E5556F','',NULL);
INSERT INTO "entry" VALUES(16,'01M86RSDAR000000000000000F',1795523655000,1795523656500,'ci','','','','','','{"pr":"15"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86RSDAR000000000000000F',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'409AD2FD6F2EB5C25DB96FECBA2D29C963ADA129306B2B913CBF7DCEEB4EF6BA','',NULL);
INSERT INTO "entry" VALUES(17,'01M86RXK40000000000000000G',1795523792000,1795523793500,'küche','','','','','','{"pr":"16"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RXK40000000000000000G',1,200,'completed',26,0,0,0,36,0,0,0,0,16000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'706FC40FB69F45AE14B27D682879E5EDCB0FD4E891BA5D120447C564B059DF15','',NULL);
INSERT INTO "entry" VALUES(18,'01M86S1RX8000000000000000H',1795523929000,1795523930500,'night build','','','','','','{"pr":"17"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86S1RX8000000000000000H',1,200,'completed',27,0,0,0,37,0,0,0,0,17000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'093B593675A956D21F7680C86AF880B5CBC956324A9156F0615CFE730109B3CF','',NULL);
INSERT INTO "entry" VALUES(19,'01M86S5YPG000000000000000J',1795524066000,1795524067500,'ci','','','','','','{"pr":"18"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86S5YPG000000000000000J',1,200,'completed',28,0,0,0,38,0,0,0,0,18000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'057FB3582B9F416C0DD0C4C45D08FB7BFD7DB474CD2DB20B3D46BE1BE780B706','',NULL);
INSERT INTO "entry" VALUES(20,'01M86SA4FR000000000000000K',1795524203000,1795524204500,'küche','','','','','','{"pr":"19"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'207A53B1B90FE9A5FBBA5A501C2C093422C399753DD997EC295C380407F04216','',NULL);
INSERT INTO "entry" VALUES(21,'01M86SEA90000000000000000M',1795524340000,1795524341500,'night build','','','','','','{"pr":"20"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86SEA90000000000000000M',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'F409B43170DFD7DFBAA914E60FE33B38523469C7A27CFE7E6A6C7B72D4855A9E','',NULL);
INSERT INTO "entry" VALUES(22,'01M86SJG28000000000000000N',1795524477000,1795524478500,'ci','','','','','','{"pr":"21"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86SJG28000000000000000N',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'3472F922849D7FFEDE13139945CD48D5AE2A06B7E69EC069BD29429A70D83B8E','',NULL);
INSERT INTO "entry" VALUES(23,'01M86SPNVG000000000000000P',1795524614000,1795524615500,'küche','','','','','','{"pr":"22"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86SPNVG000000000000000P',2,200,'completed',1022,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'881EFF34F09EBA661ADD556681DA46698F0EB31376EE8A3461C324BB6E0BACDE','',NULL);
INSERT INTO "entry" VALUES(24,'01M86STVMR000000000000000Q',1795524751000,1795524752500,'night build','','','','','','{"pr":"23"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86STVMR000000000000000Q',1,200,'completed',33,0,0,0,43,0,0,0,0,23000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'5E1AD481EF97B2A25137D82BFDB20F31886E8F5BC4BAF5CCA9DDBD4EAE8BEC9E','',NULL);
INSERT INTO "entry" VALUES(25,'01M86SZ1E0000000000000000R',1795524888000,1795524889500,'ci','','','','','','{"pr":"24"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86SZ1E0000000000000000R',1,200,'completed',34,0,0,0,44,0,0,0,0,24000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'7D45F0F680D459B33D4E8B1F0EE14D6D4A37BD06584B18C0D83591F1930BAEC1','',NULL);
INSERT INTO "entry" VALUES(26,'01M86T3778000000000000000S',1795525025000,1795525026500,'küche','','','','','','{"pr":"25"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86T3778000000000000000S',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'AF0A397F1870A30D6B4EA68B3355029FF473DFF68774B69275627B5128EEAC81','',NULL);
INSERT INTO "entry" VALUES(27,'01M86T7D0G000000000000000T',1795525162000,1795525163500,'night build','','','','','','{"pr":"26"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86T7D0G000000000000000T',1,200,'completed',36,0,0,0,46,0,0,0,0,26000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'D21049E44D7480E37A62F9B835832F60376DF73ED4DC9C46A11FC057CDF49544','',NULL);
INSERT INTO "entry" VALUES(28,'01M86TBJSR000000000000000V',1795525299000,1795525300500,'ci','','','','','','{"pr":"27"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'35FEF1D0EC5E24F7DD82B81E411FD5D44C39548E7041CE6120E59639BC44744B','',NULL);
INSERT INTO "entry" VALUES(29,'01M86TFRK0000000000000000W',1795525436000,1795525437500,'küche','','','','','','{"pr":"28"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86TFRK0000000000000000W',1,200,'completed',38,0,0,0,48,0,0,0,0,28000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'FF18AEEC3AECE35FE36C28516ECBFB42C26BBF947C25940003ED0C55674E286D','',NULL);
INSERT INTO "entry" VALUES(30,'01M86TKYC8000000000000000X',1795525573000,1795525574500,'night build','','','','','','{"pr":"29"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86TKYC8000000000000000X',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'71B76F8BEB3DD199D08D129733D37F593350D4CFF09AAAB4CC10A85E48032711','',NULL);
INSERT INTO "entry" VALUES(31,'01M86TR45G000000000000000Y',1795525710000,1795525711500,'ci','','','','','','{"pr":"30"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86TR45G000000000000000Y',2,200,'completed',1030,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'C3FAB8DC2549CD4503A7C8A066B377A5332FB72339F0581D067DC17AE85BE6D6','',NULL);
INSERT INTO "entry" VALUES(32,'01M86TW9YR000000000000000Z',1795525847000,1795525848500,'küche','','','','','','{"pr":"31"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86TW9YR000000000000000Z',1,200,'completed',41,0,0,0,51,0,0,0,0,31000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'B0BB81C008561F0B146C26890B2764C2E49EE02129A8C0B6A11D68EA3FE8BB53','',NULL);
INSERT INTO "entry" VALUES(33,'01M86V0FR00000000000000010',1795525984000,1795525985500,'night build','','','','','','{"pr":"32"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86V0FR00000000000000010',1,200,'completed',42,0,0,0,52,0,0,0,0,32000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'D8EA6998E78D67A554BAED1F4780F4F14FC00C6033DB1919713C96B5F1BEB067','',NULL);
INSERT INTO "entry" VALUES(34,'01M86V4NH80000000000000011',1795526121000,1795526122500,'ci','','','','','','{"pr":"33"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86V4NH80000000000000011',1,200,'completed',43,0,0,0,53,0,0,0,0,33000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'F982DA7A4252EC26FE440B048E49ABBFF115ABD5F5F79878C495852D473664CF','',NULL);
INSERT INTO "entry" VALUES(35,'01M86V8VAG0000000000000012',1795526258000,1795526259500,'küche','','','','','','{"pr":"34"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86V8VAG0000000000000012',1,200,'completed',44,0,0,0,54,0,0,0,0,34000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'6632956DE95DB4A0B2B2CE8A162966DBC97B248555423437592F158A23FC7007','',NULL);
INSERT INTO "entry" VALUES(36,'01M86VD13R0000000000000013',1795526395000,1795526396500,'night build','','','','','','{"pr":"35"}','normal','claude-unknown-9',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'47F170CC54FD6C8BAF025CDDDEE04A98006084679D8ED1A63C81FF0425AF831F','',NULL);
INSERT INTO "entry" VALUES(37,'01M86VH6X00000000000000014',1795526532000,1795526533500,'ci','','','','','','{"pr":"36"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VH6X00000000000000014',1,200,'completed',46,0,0,0,56,0,0,0,0,36000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'F93F1FBB2047FB23F11D3A411227CAD0226CCCA7231F7493D3369F1B059692C2','',NULL);
INSERT INTO "entry" VALUES(38,'01M86VNCP80000000000000015',1795526669000,1795526670500,'küche','','','','','','{"pr":"37"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VNCP80000000000000015',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'0824654D9A53DAC5898BAD65E2E5B01811B52A3CEC558AF78093C5ECECADC205','',NULL);
INSERT INTO "entry" VALUES(39,'01M86VSJFG0000000000000016',1795526806000,1795526807500,'night build','','','','','','{"pr":"38"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VSJFG0000000000000016',2,200,'completed',1038,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'A4635CB163404D0853E8460C9F8DFF089CDB3A1FA877EADDC3F7F2E16599291D','',NULL);
INSERT INTO "entry" VALUES(40,'01M86VXR8R0000000000000017',1795526943000,1795526944500,'ci','','','','','','{"pr":"39"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VXR8R0000000000000017',1,200,'completed',49,0,0,0,59,0,0,0,0,39000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'EA1E1F7D76A64131F0C64BC7F8156C31149BBB9158DB96B657FBF296AF010BB0','',NULL);
INSERT INTO "entry" VALUES(41,'01M86FYZ800000000000000001',1795514400000,1795514401500,'ci','','','','','','{}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_3',1,200,'completed',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'7C8808226346AA06A9CBFDAEA27F8B8A52047F3FD5A54382DE999A3D2A868440','',NULL);
INSERT INTO "entry" VALUES(42,'01M86FZ078Z7NXWY6A6AVCQG4E',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_0',0,200,'completed',3,30,0,500,30,0,0,0,0,153,'test',1,'otel',0,NULL,0,'off','',X'CA81B0B9F412E182F2CDC59BC7519C19D061E5DC07287479AB82E70B0F5DA1C5','',NULL);
INSERT INTO "entry" VALUES(43,'01M86FZ0783HE05R54WCV9N6WG',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_1',0,200,'completed',3,30,0,500,31,0,0,0,0,158,'test',1,'otel',0,NULL,0,'off','',X'32DF990E31FE7FBD63CA104056036A499B06812E8A889E3E88BC210C36664CED','',NULL);
INSERT INTO "entry" VALUES(44,'01M86FZ078TRFKE4H881Z78W5Y',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_2',0,200,'completed',3,30,0,500,32,0,0,0,0,163,'test',1,'otel',0,NULL,0,'off','',X'3197199F13C44719BAF4982C1EB281A102570F3DC678215E809A1A9E5A3D4DC6','',NULL);
INSERT INTO "entry" VALUES(45,'01M86FZ0780EJC16QNWG0R96EE',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_4',0,200,'completed',3,30,0,500,34,0,0,0,0,173,'test',1,'otel',0,NULL,0,'off','',X'9C810A4159EB12240B4B372678D21FFDFB5DEE4249B93C4B41F65AE311416516','',NULL);
INSERT INTO "entry" VALUES(46,'01M86FZ078BYNRQQJYJKNTDV32',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_5',0,200,'completed',3,30,0,500,35,0,0,0,0,178,'test',1,'otel',0,NULL,0,'off','',X'979B8C024BC6BD9A33792F04F56A8B27E092279858BB2C47F214A6508D11B136','',NULL);
INSERT INTO "entry" VALUES(47,'01M86FYZ80Q1V6VXE72CTYVHQ1',1795514400000,1795514401000,'claude-code','','shop','','','','{"branch":"feat/x"}','normal','claude-sonnet-4-5',NULL,1,0,'','req_1',0,200,'completed',3,10,20,500,31,0,0,0,0,158,'test',0,'otel',0,NULL,1000,'off','',X'95FBE702BDDBF6A1AE855F3E4E1ED1470C3E9D6C7AD929844CE791286EB252D9','',NULL);
INSERT INTO "entry" VALUES(48,'01M86FYZ805QM5YRY3KJV0K0V4',1795514400000,1795514400000,'claude-code','','shop','','s-1','','{"branch":"feat/x"}','normal','claude-sonnet-4-5',NULL,1,0,'','req_8',0,200,'completed',3,10,20,500,9,0,0,0,0,48,'test',0,'log',0,NULL,0,'off','',X'15DE81D76713F332D1784581ED5C9E98FED8C8A6DAE70EB70B9DD6B332E1876E','',NULL);
INSERT INTO "entry" VALUES(49,'01M86FYZ804HQY64MAXB5VKSZF',1795514400000,1795514400000,'claude-code','','shop','','s-1','','{"branch":"feat/x"}','normal','claude-sonnet-4-5',NULL,1,0,'','req_9',0,200,'completed',3,10,20,500,7,0,0,0,0,38,'test',0,'log',0,NULL,0,'off','',X'3C99B22ACB3025B0F28E2D67999F60101EE29C4CD51512112A5C56BAFC2576CB','',NULL);
CREATE TABLE log_file (
    path     TEXT    NOT NULL PRIMARY KEY,
    offset   INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    tail     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "log_file" VALUES('/home/u/.claude/projects/p/s.jsonl',1678,1795697243664,X'2FF6168CBDB1EAA04FCD6EAB2146608F');
CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    folded_seq   INTEGER NOT NULL,
    chain        BLOB    NOT NULL
, zone TEXT NOT NULL DEFAULT '', kept_from INTEGER NOT NULL DEFAULT 0, repriced_chain BLOB NOT NULL
    DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000') STRICT;
INSERT INTO "meta" VALUES(1,16777302,X'3C99B22ACB3025B0F28E2D67999F60101EE29C4CD51512112A5C56BAFC2576CB','',0,X'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE observation (
    observed_at INTEGER NOT NULL,
    window      TEXT    NOT NULL,
    used        INTEGER NOT NULL,
    resets_at   INTEGER,
    session     TEXT    NOT NULL,
    PRIMARY KEY (window, observed_at)
) STRICT, WITHOUT ROWID;
CREATE TABLE open_attempt (
    call_id TEXT    NOT NULL REFERENCES open_call (call_id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    opening TEXT    NOT NULL CHECK (json_valid(opening)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "open_attempt" VALUES('01M86PTPG00000000000000034',1,'{"number":1,"upstream":"anthropic","at":1795521600000,"reserved":{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":100,"web_searches":0,"batch":false,"fast":false,"us_only":false}}');
INSERT INTO "open_attempt" VALUES('01M86PTPG00000000000000035',1,'{"number":1,"upstream":"anthropic","at":1795521600000,"reserved":{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":100,"web_searches":0,"batch":false,"fast":false,"us_only":false}}');
INSERT INTO "open_attempt" VALUES('01M86PTPG00000000000000036',1,'{"number":1,"upstream":"anthropic","at":1795521600000,"reserved":{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":100,"web_searches":0,"batch":false,"fast":false,"us_only":false}}');
CREATE TABLE open_call (
    call_id TEXT NOT NULL PRIMARY KEY,
    call    TEXT NOT NULL CHECK (json_valid(call)),
    usage   TEXT CHECK (json_valid(usage)),
    used_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO "open_call" VALUES('01M86PTPG00000000000000034','{"call_id":"01M86PTPG00000000000000034","started_at":1795521600000,"class":"normal","client":"ci","person":"","project":"","tenant":"","session":"","agent":"","tags":"{}","model":"claude-sonnet-4-5","max_tokens":100,"stream":true,"body_bytes":300}',NULL,NULL);
INSERT INTO "open_call" VALUES('01M86PTPG00000000000000035','{"call_id":"01M86PTPG00000000000000035","started_at":1795521600000,"class":"normal","client":"ci","person":"","project":"","tenant":"","session":"","agent":"","tags":"{}","model":"claude-sonnet-4-5","max_tokens":100,"stream":true,"body_bytes":300}','{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":7,"web_searches":0,"batch":false,"fast":false,"us_only":false}',1795521600000);
INSERT INTO "open_call" VALUES('01M86PTPG00000000000000036','{"call_id":"01M86PTPG00000000000000036","started_at":1795521600000,"class":"normal","client":"ci","person":"","project":"","tenant":"","session":"","agent":"","tags":"{}","model":"claude-sonnet-4-5","max_tokens":100,"stream":true,"body_bytes":300}','{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":7,"web_searches":0,"batch":false,"fast":false,"us_only":false}',1795521600000);
CREATE TABLE quarter_sum (
    quarter               INTEGER NOT NULL,
    series                INTEGER NOT NULL REFERENCES series (id),
    tenant_series         INTEGER NOT NULL REFERENCES tenant_series (id),
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL, cache_hits INTEGER NOT NULL DEFAULT 0, cache_misses INTEGER NOT NULL DEFAULT 0, saved_nanos INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (quarter, series, tenant_series)
) STRICT, WITHOUT ROWID;
INSERT INTO "quarter_sum" VALUES(1995016,5,4,1,10,0,0,0,20,0,330000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995016,9,7,4,12,120,0,2000,131,0,667,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995016,10,7,1,3,10,20,500,31,0,158,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995016,11,8,2,6,20,40,1000,16,0,86,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995024,1,1,1,10,0,0,0,20,0,0,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995024,2,2,2,25,0,0,0,45,0,5000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995024,3,3,1,12,0,0,0,22,0,2000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995024,4,3,1,10,0,0,0,20,0,330000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995024,5,4,1,1006,0,0,0,77,0,330000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995025,2,2,2,27,0,0,0,47,0,337000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995025,3,3,1,18,0,0,0,28,0,8000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995025,5,4,2,41,0,0,0,61,0,21000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995025,6,5,1,10,0,0,0,20,0,0,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995026,1,1,1,10,0,0,0,20,0,0,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995026,2,2,1,26,0,0,0,36,0,16000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995026,3,3,2,1041,0,0,0,114,0,347000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995026,5,4,1,28,0,0,0,38,0,18000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995027,2,2,1,1022,0,0,0,77,0,330000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995027,3,3,2,69,0,0,0,89,0,49000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995027,5,4,2,44,0,0,0,64,0,354000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995027,6,5,1,10,0,0,0,20,0,0,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995027,7,6,1,10,0,0,0,20,0,0,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995028,2,2,2,79,0,0,0,99,0,59000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995028,3,3,2,52,0,0,0,72,0,362000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995028,8,4,1,1030,0,0,0,77,0,330000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995029,2,2,2,54,0,0,0,74,0,364000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995029,3,3,1,1038,0,0,0,77,0,330000,0,0,0);
INSERT INTO "quarter_sum" VALUES(1995029,5,4,3,138,0,0,0,168,0,108000,0,0,0);
CREATE TABLE repriced (
    number         INTEGER PRIMARY KEY,
    seq            INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    old_price_id   TEXT    NOT NULL,
    old_cost_nanos INTEGER,
    price_id       TEXT    NOT NULL,
    cost_nanos     INTEGER NOT NULL,
    estimated      INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    reason         TEXT    NOT NULL,
    chain          BLOB    NOT NULL
) STRICT;
CREATE TABLE series (
    id       INTEGER PRIMARY KEY,
    client   TEXT    NOT NULL,
    person   TEXT    NOT NULL,
    project  TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    upstream TEXT    NOT NULL,
    model    TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    priced   INTEGER NOT NULL CHECK (priced IN (0, 1)),
    UNIQUE (client, model, project, person, upstream, account, source, priced)
) STRICT;
INSERT INTO "series" VALUES(1,'ci','','','','anthropic','claude-unknown-9','gateway',0);
INSERT INTO "series" VALUES(2,'küche','','','','anthropic','claude-sonnet-4-5','gateway',1);
INSERT INTO "series" VALUES(3,'night build','','','','anthropic','claude-sonnet-4-5','gateway',1);
INSERT INTO "series" VALUES(4,'night build','','','','anthropic','claude-unknown-9','gateway',1);
INSERT INTO "series" VALUES(5,'ci','','','','anthropic','claude-sonnet-4-5','gateway',1);
INSERT INTO "series" VALUES(6,'küche','','','','anthropic','claude-unknown-9','gateway',0);
INSERT INTO "series" VALUES(7,'night build','','','','anthropic','claude-unknown-9','gateway',0);
INSERT INTO "series" VALUES(8,'ci','','','','anthropic','claude-unknown-9','gateway',1);
INSERT INTO "series" VALUES(9,'claude-code','','','','','claude-sonnet-4-5','otel',1);
INSERT INTO "series" VALUES(10,'claude-code','','shop','','','claude-sonnet-4-5','otel',1);
INSERT INTO "series" VALUES(11,'claude-code','','shop','','','claude-sonnet-4-5','log',1);
CREATE TABLE superseded (
    seq     INTEGER PRIMARY KEY REFERENCES entry (seq),
    by_call TEXT    NOT NULL
) STRICT;
INSERT INTO "superseded" VALUES(43,'01M86FYZ80Q1V6VXE72CTYVHQ1');
CREATE TABLE tenant_day_sum (
    day                   INTEGER NOT NULL,
    tenant_series         INTEGER NOT NULL REFERENCES tenant_series (id),
    calls                 INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    web_searches          INTEGER NOT NULL,
    cost_nanos            INTEGER NOT NULL, cache_hits INTEGER NOT NULL DEFAULT 0, cache_misses INTEGER NOT NULL DEFAULT 0, saved_nanos INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (day, tenant_series)
) STRICT, WITHOUT ROWID;
CREATE TABLE tenant_series (
    id     INTEGER PRIMARY KEY,
    client TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    source TEXT    NOT NULL,
    priced INTEGER NOT NULL CHECK (priced IN (0, 1)),
    UNIQUE (client, tenant, source, priced)
) STRICT;
INSERT INTO "tenant_series" VALUES(1,'ci','','gateway',0);
INSERT INTO "tenant_series" VALUES(2,'küche','','gateway',1);
INSERT INTO "tenant_series" VALUES(3,'night build','','gateway',1);
INSERT INTO "tenant_series" VALUES(4,'ci','','gateway',1);
INSERT INTO "tenant_series" VALUES(5,'küche','','gateway',0);
INSERT INTO "tenant_series" VALUES(6,'night build','','gateway',0);
INSERT INTO "tenant_series" VALUES(7,'claude-code','','otel',1);
INSERT INTO "tenant_series" VALUES(8,'claude-code','','log',1);
CREATE TABLE "told" (
    id         INTEGER PRIMARY KEY,
    message_id TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    facts      TEXT    NOT NULL,
    -- The entry that stands for it now, '' where another source or copy stands for it.
    call_id    TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    entered    BLOB    NOT NULL,
    UNIQUE (message_id, request_id, source)
) STRICT;
INSERT INTO "told" VALUES(1,'','req_0','otel','{"first_at":1795514401000,"said":{"output":30,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ078Z7NXWY6A6AVCQG4E',1,X'7FC832E1C3EC8869BFE3E42B1D070511');
INSERT INTO "told" VALUES(2,'','req_1','otel','{"first_at":1795514401000,"said":{"output":31,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FYZ80Q1V6VXE72CTYVHQ1',2,X'C0D9BDCCE391AED4921D7DA072400569');
INSERT INTO "told" VALUES(3,'','req_2','otel','{"first_at":1795514401000,"said":{"output":32,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ078TRFKE4H881Z78W5Y',1,X'D4DF5D176F3E1274011C068F72BEE277');
INSERT INTO "told" VALUES(4,'','req_3','otel','{"first_at":1795514401000,"said":{"output":33,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','',0,X'00000000000000000000000000000000');
INSERT INTO "told" VALUES(5,'','req_4','otel','{"first_at":1795514401000,"said":{"output":34,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ0780EJC16QNWG0R96EE',1,X'F17D6AF849AD0362F4F4AC058F6F00D9');
INSERT INTO "told" VALUES(6,'','req_5','otel','{"first_at":1795514401000,"said":{"output":35,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ078BYNRQQJYJKNTDV32',1,X'C05CB3CB83DC918E6591D53487D51673');
INSERT INTO "told" VALUES(7,'msg_1','req_1','log','{"first_at":1795514400000,"said":{"output":5,"prompt":533,"input":3,"write_5m":10,"write_1h":20,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":true,"at":1795514400000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"/home/u/.claude/projects/p/s.jsonl","session":"s-1","agent":"","cwd":"/home/u/shop","branch":"feat/x","user_agent":"claude-cli/2.1.97"}}','',0,X'00000000000000000000000000000000');
INSERT INTO "told" VALUES(8,'msg_8','req_8','log','{"first_at":1795514400000,"said":{"output":9,"prompt":533,"input":3,"write_5m":10,"write_1h":20,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":true,"at":1795514400000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"/home/u/.claude/projects/p/s.jsonl","session":"s-1","agent":"","cwd":"/home/u/shop","branch":"feat/x","user_agent":"claude-cli/2.1.97"}}','01M86FYZ805QM5YRY3KJV0K0V4',1,X'1BF00B98749D41F44FD2BC5F6B26070E');
INSERT INTO "told" VALUES(9,'msg_9','req_9','log','{"first_at":1795514400000,"said":{"output":7,"prompt":533,"input":3,"write_5m":10,"write_1h":20,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":true,"at":1795514400000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":true,"subagent":false,"file":"/home/u/.claude/projects/p/s.jsonl","session":"s-1","agent":"","cwd":"/home/u/shop","branch":"feat/x","user_agent":"claude-cli/2.1.97"}}','01M86FYZ804HQY64MAXB5VKSZF',1,X'8500C9709D82B3B0D6EDBB09FFC36AB0');
CREATE INDEX entry_by_time ON entry (started_at, seq);
CREATE INDEX entry_by_request ON entry (request_id) WHERE source = 'gateway' AND request_id <> '';
CREATE INDEX told_by_request ON told (request_id) WHERE request_id <> '';
CREATE INDEX repriced_by_entry ON repriced (seq, number);
CREATE INDEX bundle_row_by_day ON bundle_row (day);
CREATE VIEW rollup AS
SELECT quarter, series.client, person, project, account, tenant, upstream, model, series.source, series.priced, calls,
    input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos,
    calls * (series.priced = 0) AS unpriced_calls, cache_hits, cache_misses, saved_nanos
FROM quarter_sum JOIN series ON series.id = series JOIN tenant_series ON tenant_series.id = tenant_series;
CREATE VIEW day_rollup AS
SELECT day, client, person, project, account, upstream, model, source, priced, calls, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls,
    cache_hits, cache_misses, saved_nanos
FROM day_sum JOIN series ON series.id = series;
CREATE VIEW tenant_day_rollup AS
SELECT day, client, tenant, source, priced, calls, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls,
    cache_hits, cache_misses, saved_nanos
FROM tenant_day_sum JOIN tenant_series ON tenant_series.id = tenant_series;
CREATE VIEW counted AS
SELECT entry.seq, call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
    stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast, us_only,
    coalesce(repriced.cost_nanos, entry.cost_nanos) AS cost_nanos,
    coalesce(repriced.price_id, entry.price_id) AS price_id,
    coalesce(repriced.estimated, entry.estimated) AS estimated,
    source, waited_ms, first_byte_ms, total_ms, cache, error, entry.chain, account, saved_nanos
FROM entry LEFT JOIN repriced ON number = (SELECT max(number) FROM repriced AS later WHERE later.seq = entry.seq)
WHERE entry.seq NOT IN (SELECT seq FROM superseded);
COMMIT;
