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
INSERT INTO _sqlx_migrations VALUES(1,'ledger','2026-11-26 12:47:23',1,X'5415ffd32c22019e928f0dd76d88cebaa4eac569c5106dae8589a186c1cbcca33043dd37099d1ab60b8ed4c55454b939',983915);
INSERT INTO _sqlx_migrations VALUES(2,'told','2026-11-26 12:47:23',1,X'ac2c175cc63292a12bb7c5bbebca8f65a8a47942acd59c0cc802ee47ada71c4d35411e60943c1dd7f33b26e295701a0d',6217163);
INSERT INTO _sqlx_migrations VALUES(3,'sums','2026-11-26 12:47:23',1,X'dd45f9be19f3dc6c5dd609e55906c971415bfd6d2db68ef732b8d2cd8bce5eb04819b8a282ffca89007476bccfb8bb4d',1);
INSERT INTO _sqlx_migrations VALUES(4,'repriced','2026-11-26 12:47:23',1,X'536d836a6fc8ec92bb73156212916af9544d9e955ae5a17a63c9b725ef0e689e32c062b6eebe9f358381aafe405946fb',1);
INSERT INTO _sqlx_migrations VALUES(5,'bundles','2026-11-26 12:47:23',1,X'e1ba68d515a4f4da32cbc35f8bb387aede5769232169705398c1ae5d6cb9732994d9b9e02769083a137b5c6c01ba4793',1);
CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    folded_seq   INTEGER NOT NULL,
    chain        BLOB    NOT NULL
, zone TEXT NOT NULL DEFAULT '', kept_from INTEGER NOT NULL DEFAULT 0, repriced_chain BLOB NOT NULL
    DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000') STRICT;
INSERT INTO meta VALUES(1,16777302,X'3c99b22acb3025b0f28e2d67999f60101ee29c4cd51512112a5c56bafc2576cb','',0,X'0000000000000000000000000000000000000000000000000000000000000000');
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
, account TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO entry VALUES(1,'01M86PTPG00000000000000000',1795521600000,1795521601500,'ci','','','','','','{"pr":"0"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86PTPG00000000000000000',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'ca7f4a4333dee84aed480d2160bd778275587906049d1446f2baee54bc318a20','');
INSERT INTO entry VALUES(2,'01M86PYW980000000000000001',1795521737000,1795521738500,'küche','','','','','','{"pr":"1"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86PYW980000000000000001',1,200,'completed',11,0,0,0,21,0,0,0,0,1000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'f1f19bef2d6d0dadd7d7a7be240fb5109a8151bc3548921ec278224e5a4f3d42','');
INSERT INTO entry VALUES(3,'01M86Q322G0000000000000002',1795521874000,1795521875500,'night build','','','','','','{"pr":"2"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86Q322G0000000000000002',1,200,'completed',12,0,0,0,22,0,0,0,0,2000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'8413d55cc7d732286e0e9ba5eaaac4bd48902124d8ee68c900590a5f7cddcd43','');
INSERT INTO entry VALUES(4,'01M86Q77VR0000000000000003',1795522011000,1795522012500,'ci','','','','','','{"pr":"3"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'd6101b080524f46557b942b4b221cc3127fb7b14ade84b89508ecc371ac83a2d','');
INSERT INTO entry VALUES(5,'01M86QBDN00000000000000004',1795522148000,1795522149500,'küche','','','','','','{"pr":"4"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QBDN00000000000000004',1,200,'completed',14,0,0,0,24,0,0,0,0,4000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'e35e6bf9fd79e85c39db539aca4d14a20af5fcbd58ef12e139751e375b825d08','');
INSERT INTO entry VALUES(6,'01M86QFKE80000000000000005',1795522285000,1795522286500,'night build','','','','','','{"pr":"5"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86QFKE80000000000000005',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'f896558aa0260b42c19515157ba9ee18e45693fcb76c8edc579710bdfc5b8e23','');
INSERT INTO entry VALUES(7,'01M86QKS7G0000000000000006',1795522422000,1795522423500,'ci','','','','','','{"pr":"6"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QKS7G0000000000000006',2,200,'completed',1006,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'66a4ff6935b88bef4948e49f5a72a331163d15dd70ab2afd7d91133874f418a7','');
INSERT INTO entry VALUES(8,'01M86QQZ0R0000000000000007',1795522559000,1795522560500,'küche','','','','','','{"pr":"7"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QQZ0R0000000000000007',1,200,'completed',17,0,0,0,27,0,0,0,0,7000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'35504f640368645e932d4432d8696a7c31e883f8beb0f51a97e5de7c351d7c81','');
INSERT INTO entry VALUES(9,'01M86QW4T00000000000000008',1795522696000,1795522697500,'night build','','','','','','{"pr":"8"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86QW4T00000000000000008',1,200,'completed',18,0,0,0,28,0,0,0,0,8000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'94bfd8288fd03c040a57b8eb2c4ee12b5c40774e3ff384586cb34cd79ce17188','');
INSERT INTO entry VALUES(10,'01M86R0AK80000000000000009',1795522833000,1795522834500,'ci','','','','','','{"pr":"9"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86R0AK80000000000000009',1,200,'completed',19,0,0,0,29,0,0,0,0,9000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'7f9f4e9a72a72fc7e156429b5847a4390121063c7abc8dc429e7b5b05a63f2d0','');
INSERT INTO entry VALUES(11,'01M86R4GCG000000000000000A',1795522970000,1795522971500,'küche','','','','','','{"pr":"10"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86R4GCG000000000000000A',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'919ff416086719bab1ec6310a64dca07ac46d9d8d6d871eb84c380c7d8a93d58','');
INSERT INTO entry VALUES(12,'01M86R8P5R000000000000000B',1795523107000,1795523108500,'night build','','','','','','{"pr":"11"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'0e21538a83c39081543304f33f898028fa826cde4946b66416075d27bb86486b','');
INSERT INTO entry VALUES(13,'01M86RCVZ0000000000000000C',1795523244000,1795523245500,'ci','','','','','','{"pr":"12"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RCVZ0000000000000000C',1,200,'completed',22,0,0,0,32,0,0,0,0,12000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'2407922cb6964618f059f5cee0cea398a83b3c436f643c30fb46170eef5a2d82','');
INSERT INTO entry VALUES(14,'01M86RH1R8000000000000000D',1795523381000,1795523382500,'küche','','','','','','{"pr":"13"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RH1R8000000000000000D',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'6f8eb6fc8a68eee3e3077499d9d57d7aee1214ca53e1b358f117eebe912ad08d','');
INSERT INTO entry VALUES(15,'01M86RN7HG000000000000000E',1795523518000,1795523519500,'night build','','','','','','{"pr":"14"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RN7HG000000000000000E',2,200,'completed',1014,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'ac52e2558613fb6e737bd92cd43dec68986fe625edf843bb570b191974e5556f','');
INSERT INTO entry VALUES(16,'01M86RSDAR000000000000000F',1795523655000,1795523656500,'ci','','','','','','{"pr":"15"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86RSDAR000000000000000F',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'409ad2fd6f2eb5c25db96fecba2d29c963ada129306b2b913cbf7dceeb4ef6ba','');
INSERT INTO entry VALUES(17,'01M86RXK40000000000000000G',1795523792000,1795523793500,'küche','','','','','','{"pr":"16"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86RXK40000000000000000G',1,200,'completed',26,0,0,0,36,0,0,0,0,16000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'706fc40fb69f45ae14b27d682879e5edcb0fd4e891ba5d120447c564b059df15','');
INSERT INTO entry VALUES(18,'01M86S1RX8000000000000000H',1795523929000,1795523930500,'night build','','','','','','{"pr":"17"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86S1RX8000000000000000H',1,200,'completed',27,0,0,0,37,0,0,0,0,17000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'093b593675a956d21f7680c86af880b5cbc956324a9156f0615cfe730109b3cf','');
INSERT INTO entry VALUES(19,'01M86S5YPG000000000000000J',1795524066000,1795524067500,'ci','','','','','','{"pr":"18"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86S5YPG000000000000000J',1,200,'completed',28,0,0,0,38,0,0,0,0,18000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'057fb3582b9f416c0dd0c4c45d08fb7bfd7db474cd2db20b3d46be1be780b706','');
INSERT INTO entry VALUES(20,'01M86SA4FR000000000000000K',1795524203000,1795524204500,'küche','','','','','','{"pr":"19"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'207a53b1b90fe9a5fbba5a501c2c093422c399753dd997ec295c380407f04216','');
INSERT INTO entry VALUES(21,'01M86SEA90000000000000000M',1795524340000,1795524341500,'night build','','','','','','{"pr":"20"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86SEA90000000000000000M',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'f409b43170dfd7dfbaa914e60fe33b38523469c7a27cfe7e6a6c7b72d4855a9e','');
INSERT INTO entry VALUES(22,'01M86SJG28000000000000000N',1795524477000,1795524478500,'ci','','','','','','{"pr":"21"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86SJG28000000000000000N',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'3472f922849d7ffede13139945cd48d5ae2a06b7e69ec069bd29429a70d83b8e','');
INSERT INTO entry VALUES(23,'01M86SPNVG000000000000000P',1795524614000,1795524615500,'küche','','','','','','{"pr":"22"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86SPNVG000000000000000P',2,200,'completed',1022,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'881eff34f09eba661add556681da46698f0eb31376ee8a3461c324bb6e0bacde','');
INSERT INTO entry VALUES(24,'01M86STVMR000000000000000Q',1795524751000,1795524752500,'night build','','','','','','{"pr":"23"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86STVMR000000000000000Q',1,200,'completed',33,0,0,0,43,0,0,0,0,23000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'5e1ad481ef97b2a25137d82bfdb20f31886e8f5bc4baf5cca9ddbd4eae8bec9e','');
INSERT INTO entry VALUES(25,'01M86SZ1E0000000000000000R',1795524888000,1795524889500,'ci','','','','','','{"pr":"24"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86SZ1E0000000000000000R',1,200,'completed',34,0,0,0,44,0,0,0,0,24000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'7d45f0f680d459b33d4e8b1f0ee14d6d4a37bd06584b18c0d83591f1930baec1','');
INSERT INTO entry VALUES(26,'01M86T3778000000000000000S',1795525025000,1795525026500,'küche','','','','','','{"pr":"25"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86T3778000000000000000S',1,200,'completed',10,0,0,0,20,0,0,0,0,NULL,'',0,'gateway',3,400,1500,'off','',X'af0a397f1870a30d6b4ea68b3355029ff473dff68774b69275627b5128eeac81','');
INSERT INTO entry VALUES(27,'01M86T7D0G000000000000000T',1795525162000,1795525163500,'night build','','','','','','{"pr":"26"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86T7D0G000000000000000T',1,200,'completed',36,0,0,0,46,0,0,0,0,26000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'd21049e44d7480e37a62f9b835832f60376df73ed4dc9c46a11fc057cdf49544','');
INSERT INTO entry VALUES(28,'01M86TBJSR000000000000000V',1795525299000,1795525300500,'ci','','','','','','{"pr":"27"}','normal','claude-sonnet-4-5',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'35fef1d0ec5e24f7dd82b81e411fd5d44c39548e7041ce6120e59639bc44744b','');
INSERT INTO entry VALUES(29,'01M86TFRK0000000000000000W',1795525436000,1795525437500,'küche','','','','','','{"pr":"28"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86TFRK0000000000000000W',1,200,'completed',38,0,0,0,48,0,0,0,0,28000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'ff18aeec3aece35fe36c28516ecbfb42c26bbf947c25940003ed0c55674e286d','');
INSERT INTO entry VALUES(30,'01M86TKYC8000000000000000X',1795525573000,1795525574500,'night build','','','','','','{"pr":"29"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86TKYC8000000000000000X',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'71b76f8beb3dd199d08d129733d37f593350d4cff09aaab4cc10a85e48032711','');
INSERT INTO entry VALUES(31,'01M86TR45G000000000000000Y',1795525710000,1795525711500,'ci','','','','','','{"pr":"30"}','normal','claude-unknown-9',100,1,300,'anthropic','req_01M86TR45G000000000000000Y',2,200,'completed',1030,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'c3fab8dc2549cd4503a7c8a066b377a5332fb72339f0581d067dc17ae85be6d6','');
INSERT INTO entry VALUES(32,'01M86TW9YR000000000000000Z',1795525847000,1795525848500,'küche','','','','','','{"pr":"31"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86TW9YR000000000000000Z',1,200,'completed',41,0,0,0,51,0,0,0,0,31000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'b0bb81c008561f0b146c26890b2764c2e49ee02129a8c0b6a11d68ea3fe8bb53','');
INSERT INTO entry VALUES(33,'01M86V0FR00000000000000010',1795525984000,1795525985500,'night build','','','','','','{"pr":"32"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86V0FR00000000000000010',1,200,'completed',42,0,0,0,52,0,0,0,0,32000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'd8ea6998e78d67a554baed1f4780f4f14fc00c6033db1919713c96b5f1beb067','');
INSERT INTO entry VALUES(34,'01M86V4NH80000000000000011',1795526121000,1795526122500,'ci','','','','','','{"pr":"33"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86V4NH80000000000000011',1,200,'completed',43,0,0,0,53,0,0,0,0,33000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'f982da7a4252ec26fe440b048e49abbff115abd5f5f79878c495852d473664cf','');
INSERT INTO entry VALUES(35,'01M86V8VAG0000000000000012',1795526258000,1795526259500,'küche','','','','','','{"pr":"34"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86V8VAG0000000000000012',1,200,'completed',44,0,0,0,54,0,0,0,0,34000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'6632956de95db4a0b2b2ce8a162966dbc97b248555423437592f158a23fc7007','');
INSERT INTO entry VALUES(36,'01M86VD13R0000000000000013',1795526395000,1795526396500,'night build','','','','','','{"pr":"35"}','normal','claude-unknown-9',100,1,300,'','',0,429,'refused',0,0,0,0,0,0,0,0,0,0,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','tidegate_budget',X'47f170cc54fd6c8baf025cdddee04a98006084679d8ed1a63c81ff0425af831f','');
INSERT INTO entry VALUES(37,'01M86VH6X00000000000000014',1795526532000,1795526533500,'ci','','','','','','{"pr":"36"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VH6X00000000000000014',1,200,'completed',46,0,0,0,56,0,0,0,0,36000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'f93f1fbb2047fb23f11d3a411227cad0226ccca7231f7493d3369f1b059692c2','');
INSERT INTO entry VALUES(38,'01M86VNCP80000000000000015',1795526669000,1795526670500,'küche','','','','','','{"pr":"37"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VNCP80000000000000015',1,200,'cut',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',1,'gateway',3,400,1500,'off','the stream broke',X'0824654d9a53dac5898bad65e2e5b01811b52a3cec558af78093c5ececadc205','');
INSERT INTO entry VALUES(39,'01M86VSJFG0000000000000016',1795526806000,1795526807500,'night build','','','','','','{"pr":"38"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VSJFG0000000000000016',2,200,'completed',1038,0,0,0,77,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'a4635cb163404d0853e8460c9f8dff089cdb3a1fa877eaddc3f7f2e16599291d','');
INSERT INTO entry VALUES(40,'01M86VXR8R0000000000000017',1795526943000,1795526944500,'ci','','','','','','{"pr":"39"}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_01M86VXR8R0000000000000017',1,200,'completed',49,0,0,0,59,0,0,0,0,39000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'ea1e1f7d76a64131f0c64bc7f8156c31149bbb9158db96b657fbf296af010bb0','');
INSERT INTO entry VALUES(41,'01M86FYZ800000000000000001',1795514400000,1795514401500,'ci','','','','','','{}','normal','claude-sonnet-4-5',100,1,300,'anthropic','req_3',1,200,'completed',10,0,0,0,20,0,0,0,0,330000,'claude-sonnet-4-5',0,'gateway',3,400,1500,'off','',X'7c8808226346aa06a9cbfdaea27f8b8a52047f3fd5a54382de999a3d2a868440','');
INSERT INTO entry VALUES(42,'01M86FZ078Z7NXWY6A6AVCQG4E',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_0',0,200,'completed',3,30,0,500,30,0,0,0,0,153,'test',1,'otel',0,NULL,0,'off','',X'ca81b0b9f412e182f2cdc59bc7519c19d061e5dc07287479ab82e70b0f5da1c5','');
INSERT INTO entry VALUES(43,'01M86FZ0783HE05R54WCV9N6WG',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_1',0,200,'completed',3,30,0,500,31,0,0,0,0,158,'test',1,'otel',0,NULL,0,'off','',X'32df990e31fe7fbd63ca104056036a499b06812e8a889e3e88bc210c36664ced','');
INSERT INTO entry VALUES(44,'01M86FZ078TRFKE4H881Z78W5Y',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_2',0,200,'completed',3,30,0,500,32,0,0,0,0,163,'test',1,'otel',0,NULL,0,'off','',X'3197199f13c44719baf4982c1eb281a102570f3dc678215e809a1a9e5a3d4dc6','');
INSERT INTO entry VALUES(45,'01M86FZ0780EJC16QNWG0R96EE',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_4',0,200,'completed',3,30,0,500,34,0,0,0,0,173,'test',1,'otel',0,NULL,0,'off','',X'9c810a4159eb12240b4b372678d21ffdfb5dee4249b93c4b41f65ae311416516','');
INSERT INTO entry VALUES(46,'01M86FZ078BYNRQQJYJKNTDV32',1795514401000,1795514401000,'claude-code','','','','','','{}','normal','claude-sonnet-4-5',NULL,1,0,'','req_5',0,200,'completed',3,30,0,500,35,0,0,0,0,178,'test',1,'otel',0,NULL,0,'off','',X'979b8c024bc6bd9a33792f04f56a8b27e092279858bb2c47f214a6508d11b136','');
INSERT INTO entry VALUES(47,'01M86FYZ80Q1V6VXE72CTYVHQ1',1795514400000,1795514401000,'claude-code','','shop','','','','{"branch":"feat/x"}','normal','claude-sonnet-4-5',NULL,1,0,'','req_1',0,200,'completed',3,10,20,500,31,0,0,0,0,158,'test',0,'otel',0,NULL,1000,'off','',X'95fbe702bddbf6a1ae855f3e4e1ed1470c3e9d6c7ad929844ce791286eb252d9','');
INSERT INTO entry VALUES(48,'01M86FYZ805QM5YRY3KJV0K0V4',1795514400000,1795514400000,'claude-code','','shop','','s-1','','{"branch":"feat/x"}','normal','claude-sonnet-4-5',NULL,1,0,'','req_8',0,200,'completed',3,10,20,500,9,0,0,0,0,48,'test',0,'log',0,NULL,0,'off','',X'15de81d76713f332d1784581ed5c9e98fed8c8a6dae70eb70b9dd6b332e1876e','');
INSERT INTO entry VALUES(49,'01M86FYZ804HQY64MAXB5VKSZF',1795514400000,1795514400000,'claude-code','','shop','','s-1','','{"branch":"feat/x"}','normal','claude-sonnet-4-5',NULL,1,0,'','req_9',0,200,'completed',3,10,20,500,7,0,0,0,0,38,'test',0,'log',0,NULL,0,'off','',X'3c99b22acb3025b0f28e2d67999f60101ee29c4cd51512112a5c56bafc2576cb','');
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
INSERT INTO attempt VALUES('01M86FYZ800000000000000001',1,'anthropic',1795514400000,200,'req_3','',0);
INSERT INTO attempt VALUES('01M86PTPG00000000000000000',1,'anthropic',1795521600000,200,'req_01M86PTPG00000000000000000','',0);
INSERT INTO attempt VALUES('01M86PYW980000000000000001',1,'anthropic',1795521737000,200,'req_01M86PYW980000000000000001','',0);
INSERT INTO attempt VALUES('01M86Q322G0000000000000002',1,'anthropic',1795521874000,200,'req_01M86Q322G0000000000000002','',0);
INSERT INTO attempt VALUES('01M86QBDN00000000000000004',1,'anthropic',1795522148000,200,'req_01M86QBDN00000000000000004','',0);
INSERT INTO attempt VALUES('01M86QFKE80000000000000005',1,'anthropic',1795522285000,200,'req_01M86QFKE80000000000000005','',0);
INSERT INTO attempt VALUES('01M86QKS7G0000000000000006',1,'anthropic',1795522422000,200,'req_01M86QKS7G0000000000000006','',0);
INSERT INTO attempt VALUES('01M86QKS7G0000000000000006',2,'anthropic',1795522422000,200,'req_01M86QKS7G0000000000000006','',0);
INSERT INTO attempt VALUES('01M86QQZ0R0000000000000007',1,'anthropic',1795522559000,200,'req_01M86QQZ0R0000000000000007','',0);
INSERT INTO attempt VALUES('01M86QW4T00000000000000008',1,'anthropic',1795522696000,200,'req_01M86QW4T00000000000000008','',0);
INSERT INTO attempt VALUES('01M86R0AK80000000000000009',1,'anthropic',1795522833000,200,'req_01M86R0AK80000000000000009','',0);
INSERT INTO attempt VALUES('01M86R4GCG000000000000000A',1,'anthropic',1795522970000,200,'req_01M86R4GCG000000000000000A','',0);
INSERT INTO attempt VALUES('01M86RCVZ0000000000000000C',1,'anthropic',1795523244000,200,'req_01M86RCVZ0000000000000000C','',0);
INSERT INTO attempt VALUES('01M86RH1R8000000000000000D',1,'anthropic',1795523381000,200,'req_01M86RH1R8000000000000000D','',0);
INSERT INTO attempt VALUES('01M86RN7HG000000000000000E',1,'anthropic',1795523518000,200,'req_01M86RN7HG000000000000000E','',0);
INSERT INTO attempt VALUES('01M86RN7HG000000000000000E',2,'anthropic',1795523518000,200,'req_01M86RN7HG000000000000000E','',0);
INSERT INTO attempt VALUES('01M86RSDAR000000000000000F',1,'anthropic',1795523655000,200,'req_01M86RSDAR000000000000000F','',0);
INSERT INTO attempt VALUES('01M86RXK40000000000000000G',1,'anthropic',1795523792000,200,'req_01M86RXK40000000000000000G','',0);
INSERT INTO attempt VALUES('01M86S1RX8000000000000000H',1,'anthropic',1795523929000,200,'req_01M86S1RX8000000000000000H','',0);
INSERT INTO attempt VALUES('01M86S5YPG000000000000000J',1,'anthropic',1795524066000,200,'req_01M86S5YPG000000000000000J','',0);
INSERT INTO attempt VALUES('01M86SEA90000000000000000M',1,'anthropic',1795524340000,200,'req_01M86SEA90000000000000000M','',0);
INSERT INTO attempt VALUES('01M86SJG28000000000000000N',1,'anthropic',1795524477000,200,'req_01M86SJG28000000000000000N','',0);
INSERT INTO attempt VALUES('01M86SPNVG000000000000000P',1,'anthropic',1795524614000,200,'req_01M86SPNVG000000000000000P','',0);
INSERT INTO attempt VALUES('01M86SPNVG000000000000000P',2,'anthropic',1795524614000,200,'req_01M86SPNVG000000000000000P','',0);
INSERT INTO attempt VALUES('01M86STVMR000000000000000Q',1,'anthropic',1795524751000,200,'req_01M86STVMR000000000000000Q','',0);
INSERT INTO attempt VALUES('01M86SZ1E0000000000000000R',1,'anthropic',1795524888000,200,'req_01M86SZ1E0000000000000000R','',0);
INSERT INTO attempt VALUES('01M86T3778000000000000000S',1,'anthropic',1795525025000,200,'req_01M86T3778000000000000000S','',0);
INSERT INTO attempt VALUES('01M86T7D0G000000000000000T',1,'anthropic',1795525162000,200,'req_01M86T7D0G000000000000000T','',0);
INSERT INTO attempt VALUES('01M86TFRK0000000000000000W',1,'anthropic',1795525436000,200,'req_01M86TFRK0000000000000000W','',0);
INSERT INTO attempt VALUES('01M86TKYC8000000000000000X',1,'anthropic',1795525573000,200,'req_01M86TKYC8000000000000000X','',0);
INSERT INTO attempt VALUES('01M86TR45G000000000000000Y',1,'anthropic',1795525710000,200,'req_01M86TR45G000000000000000Y','',0);
INSERT INTO attempt VALUES('01M86TR45G000000000000000Y',2,'anthropic',1795525710000,200,'req_01M86TR45G000000000000000Y','',0);
INSERT INTO attempt VALUES('01M86TW9YR000000000000000Z',1,'anthropic',1795525847000,200,'req_01M86TW9YR000000000000000Z','',0);
INSERT INTO attempt VALUES('01M86V0FR00000000000000010',1,'anthropic',1795525984000,200,'req_01M86V0FR00000000000000010','',0);
INSERT INTO attempt VALUES('01M86V4NH80000000000000011',1,'anthropic',1795526121000,200,'req_01M86V4NH80000000000000011','',0);
INSERT INTO attempt VALUES('01M86V8VAG0000000000000012',1,'anthropic',1795526258000,200,'req_01M86V8VAG0000000000000012','',0);
INSERT INTO attempt VALUES('01M86VH6X00000000000000014',1,'anthropic',1795526532000,200,'req_01M86VH6X00000000000000014','',0);
INSERT INTO attempt VALUES('01M86VNCP80000000000000015',1,'anthropic',1795526669000,200,'req_01M86VNCP80000000000000015','',0);
INSERT INTO attempt VALUES('01M86VSJFG0000000000000016',1,'anthropic',1795526806000,200,'req_01M86VSJFG0000000000000016','',0);
INSERT INTO attempt VALUES('01M86VSJFG0000000000000016',2,'anthropic',1795526806000,200,'req_01M86VSJFG0000000000000016','',0);
INSERT INTO attempt VALUES('01M86VXR8R0000000000000017',1,'anthropic',1795526943000,200,'req_01M86VXR8R0000000000000017','',0);
CREATE TABLE open_call (
    call_id TEXT NOT NULL PRIMARY KEY,
    call    TEXT NOT NULL CHECK (json_valid(call)),
    usage   TEXT CHECK (json_valid(usage)),
    used_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO open_call VALUES('01M86PTPG00000000000000034','{"call_id":"01M86PTPG00000000000000034","started_at":1795521600000,"class":"normal","client":"ci","person":"","project":"","tenant":"","session":"","agent":"","tags":"{}","model":"claude-sonnet-4-5","max_tokens":100,"stream":true,"body_bytes":300}',NULL,NULL);
INSERT INTO open_call VALUES('01M86PTPG00000000000000035','{"call_id":"01M86PTPG00000000000000035","started_at":1795521600000,"class":"normal","client":"ci","person":"","project":"","tenant":"","session":"","agent":"","tags":"{}","model":"claude-sonnet-4-5","max_tokens":100,"stream":true,"body_bytes":300}','{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":7,"web_searches":0,"batch":false,"fast":false,"us_only":false}',1795521600000);
INSERT INTO open_call VALUES('01M86PTPG00000000000000036','{"call_id":"01M86PTPG00000000000000036","started_at":1795521600000,"class":"normal","client":"ci","person":"","project":"","tenant":"","session":"","agent":"","tags":"{}","model":"claude-sonnet-4-5","max_tokens":100,"stream":true,"body_bytes":300}','{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":7,"web_searches":0,"batch":false,"fast":false,"us_only":false}',1795521600000);
CREATE TABLE open_attempt (
    call_id TEXT    NOT NULL REFERENCES open_call (call_id) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    opening TEXT    NOT NULL CHECK (json_valid(opening)),
    PRIMARY KEY (call_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO open_attempt VALUES('01M86PTPG00000000000000034',1,'{"number":1,"upstream":"anthropic","at":1795521600000,"reserved":{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":100,"web_searches":0,"batch":false,"fast":false,"us_only":false}}');
INSERT INTO open_attempt VALUES('01M86PTPG00000000000000035',1,'{"number":1,"upstream":"anthropic","at":1795521600000,"reserved":{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":100,"web_searches":0,"batch":false,"fast":false,"us_only":false}}');
INSERT INTO open_attempt VALUES('01M86PTPG00000000000000036',1,'{"number":1,"upstream":"anthropic","at":1795521600000,"reserved":{"input":50,"cache_write_5m":0,"cache_write_1h":0,"cache_read":0,"output":100,"web_searches":0,"batch":false,"fast":false,"us_only":false}}');
CREATE TABLE superseded (
    seq     INTEGER PRIMARY KEY REFERENCES entry (seq),
    by_call TEXT    NOT NULL
) STRICT;
INSERT INTO superseded VALUES(43,'01M86FYZ80Q1V6VXE72CTYVHQ1');
CREATE TABLE log_file (
    path     TEXT    NOT NULL PRIMARY KEY,
    offset   INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    tail     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO log_file VALUES('/home/u/.claude/projects/p/s.jsonl',1678,1795697243664,X'2ff6168cbdb1eaa04fcd6eab2146608f');
CREATE TABLE observation (
    observed_at INTEGER NOT NULL,
    window      TEXT    NOT NULL,
    used        INTEGER NOT NULL,
    resets_at   INTEGER,
    session     TEXT    NOT NULL,
    PRIMARY KEY (window, observed_at)
) STRICT, WITHOUT ROWID;
CREATE TABLE cut (
    through INTEGER PRIMARY KEY,
    since   INTEGER NOT NULL UNIQUE,
    chain   BLOB    NOT NULL
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
INSERT INTO series VALUES(1,'ci','','','','anthropic','claude-unknown-9','gateway',0);
INSERT INTO series VALUES(2,'küche','','','','anthropic','claude-sonnet-4-5','gateway',1);
INSERT INTO series VALUES(3,'night build','','','','anthropic','claude-sonnet-4-5','gateway',1);
INSERT INTO series VALUES(4,'night build','','','','anthropic','claude-unknown-9','gateway',1);
INSERT INTO series VALUES(5,'ci','','','','anthropic','claude-sonnet-4-5','gateway',1);
INSERT INTO series VALUES(6,'küche','','','','anthropic','claude-unknown-9','gateway',0);
INSERT INTO series VALUES(7,'night build','','','','anthropic','claude-unknown-9','gateway',0);
INSERT INTO series VALUES(8,'ci','','','','anthropic','claude-unknown-9','gateway',1);
INSERT INTO series VALUES(9,'claude-code','','','','','claude-sonnet-4-5','otel',1);
INSERT INTO series VALUES(10,'claude-code','','shop','','','claude-sonnet-4-5','otel',1);
INSERT INTO series VALUES(11,'claude-code','','shop','','','claude-sonnet-4-5','log',1);
CREATE TABLE tenant_series (
    id     INTEGER PRIMARY KEY,
    client TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    source TEXT    NOT NULL,
    priced INTEGER NOT NULL CHECK (priced IN (0, 1)),
    UNIQUE (client, tenant, source, priced)
) STRICT;
INSERT INTO tenant_series VALUES(1,'ci','','gateway',0);
INSERT INTO tenant_series VALUES(2,'küche','','gateway',1);
INSERT INTO tenant_series VALUES(3,'night build','','gateway',1);
INSERT INTO tenant_series VALUES(4,'ci','','gateway',1);
INSERT INTO tenant_series VALUES(5,'küche','','gateway',0);
INSERT INTO tenant_series VALUES(6,'night build','','gateway',0);
INSERT INTO tenant_series VALUES(7,'claude-code','','otel',1);
INSERT INTO tenant_series VALUES(8,'claude-code','','log',1);
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
    cost_nanos            INTEGER NOT NULL,
    PRIMARY KEY (quarter, series, tenant_series)
) STRICT, WITHOUT ROWID;
INSERT INTO quarter_sum VALUES(1995016,5,4,1,10,0,0,0,20,0,330000);
INSERT INTO quarter_sum VALUES(1995016,9,7,4,12,120,0,2000,131,0,667);
INSERT INTO quarter_sum VALUES(1995016,10,7,1,3,10,20,500,31,0,158);
INSERT INTO quarter_sum VALUES(1995016,11,8,2,6,20,40,1000,16,0,86);
INSERT INTO quarter_sum VALUES(1995024,1,1,1,10,0,0,0,20,0,0);
INSERT INTO quarter_sum VALUES(1995024,2,2,2,25,0,0,0,45,0,5000);
INSERT INTO quarter_sum VALUES(1995024,3,3,1,12,0,0,0,22,0,2000);
INSERT INTO quarter_sum VALUES(1995024,4,3,1,10,0,0,0,20,0,330000);
INSERT INTO quarter_sum VALUES(1995024,5,4,1,1006,0,0,0,77,0,330000);
INSERT INTO quarter_sum VALUES(1995025,2,2,2,27,0,0,0,47,0,337000);
INSERT INTO quarter_sum VALUES(1995025,3,3,1,18,0,0,0,28,0,8000);
INSERT INTO quarter_sum VALUES(1995025,5,4,2,41,0,0,0,61,0,21000);
INSERT INTO quarter_sum VALUES(1995025,6,5,1,10,0,0,0,20,0,0);
INSERT INTO quarter_sum VALUES(1995026,1,1,1,10,0,0,0,20,0,0);
INSERT INTO quarter_sum VALUES(1995026,2,2,1,26,0,0,0,36,0,16000);
INSERT INTO quarter_sum VALUES(1995026,3,3,2,1041,0,0,0,114,0,347000);
INSERT INTO quarter_sum VALUES(1995026,5,4,1,28,0,0,0,38,0,18000);
INSERT INTO quarter_sum VALUES(1995027,2,2,1,1022,0,0,0,77,0,330000);
INSERT INTO quarter_sum VALUES(1995027,3,3,2,69,0,0,0,89,0,49000);
INSERT INTO quarter_sum VALUES(1995027,5,4,2,44,0,0,0,64,0,354000);
INSERT INTO quarter_sum VALUES(1995027,6,5,1,10,0,0,0,20,0,0);
INSERT INTO quarter_sum VALUES(1995027,7,6,1,10,0,0,0,20,0,0);
INSERT INTO quarter_sum VALUES(1995028,2,2,2,79,0,0,0,99,0,59000);
INSERT INTO quarter_sum VALUES(1995028,3,3,2,52,0,0,0,72,0,362000);
INSERT INTO quarter_sum VALUES(1995028,8,4,1,1030,0,0,0,77,0,330000);
INSERT INTO quarter_sum VALUES(1995029,2,2,2,54,0,0,0,74,0,364000);
INSERT INTO quarter_sum VALUES(1995029,3,3,1,1038,0,0,0,77,0,330000);
INSERT INTO quarter_sum VALUES(1995029,5,4,3,138,0,0,0,168,0,108000);
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
    cost_nanos            INTEGER NOT NULL,
    PRIMARY KEY (day, series)
) STRICT, WITHOUT ROWID;
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
    cost_nanos            INTEGER NOT NULL,
    PRIMARY KEY (day, tenant_series)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "told" (
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
INSERT INTO told VALUES(1,'','req_0','otel','{"first_at":1795514401000,"said":{"output":30,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ078Z7NXWY6A6AVCQG4E',1,X'7fc832e1c3ec8869bfe3e42b1d070511');
INSERT INTO told VALUES(2,'','req_1','otel','{"first_at":1795514401000,"said":{"output":31,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FYZ80Q1V6VXE72CTYVHQ1',2,X'c0d9bdcce391aed4921d7da072400569');
INSERT INTO told VALUES(3,'','req_2','otel','{"first_at":1795514401000,"said":{"output":32,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ078TRFKE4H881Z78W5Y',1,X'd4df5d176f3e1274011c068f72bee277');
INSERT INTO told VALUES(4,'','req_3','otel','{"first_at":1795514401000,"said":{"output":33,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','',0,X'00000000000000000000000000000000');
INSERT INTO told VALUES(5,'','req_4','otel','{"first_at":1795514401000,"said":{"output":34,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ0780EJC16QNWG0R96EE',1,X'f17d6af849ad0362f4f4ac058f6f00d9');
INSERT INTO told VALUES(6,'','req_5','otel','{"first_at":1795514401000,"said":{"output":35,"prompt":533,"input":3,"write_5m":30,"write_1h":0,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":false,"at":1795514401000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"","session":"","agent":"","cwd":"","branch":"","user_agent":""}}','01M86FZ078BYNRQQJYJKNTDV32',1,X'c05cb3cb83dc918e6591d53487d51673');
INSERT INTO told VALUES(7,'msg_1','req_1','log','{"first_at":1795514400000,"said":{"output":5,"prompt":533,"input":3,"write_5m":10,"write_1h":20,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":true,"at":1795514400000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"/home/u/.claude/projects/p/s.jsonl","session":"s-1","agent":"","cwd":"/home/u/shop","branch":"feat/x","user_agent":"claude-cli/2.1.97"}}','',0,X'00000000000000000000000000000000');
INSERT INTO told VALUES(8,'msg_8','req_8','log','{"first_at":1795514400000,"said":{"output":9,"prompt":533,"input":3,"write_5m":10,"write_1h":20,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":true,"at":1795514400000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":false,"subagent":false,"file":"/home/u/.claude/projects/p/s.jsonl","session":"s-1","agent":"","cwd":"/home/u/shop","branch":"feat/x","user_agent":"claude-cli/2.1.97"}}','01M86FYZ805QM5YRY3KJV0K0V4',1,X'1bf00b98749d41f44fd2bc5f6b26070e');
INSERT INTO told VALUES(9,'msg_9','req_9','log','{"first_at":1795514400000,"said":{"output":7,"prompt":533,"input":3,"write_5m":10,"write_1h":20,"read":500,"searches":0,"batch":false,"fast":false,"us":false,"split":true,"at":1795514400000,"model":"claude-sonnet-4-5"},"origin":{"sidechain":true,"subagent":false,"file":"/home/u/.claude/projects/p/s.jsonl","session":"s-1","agent":"","cwd":"/home/u/shop","branch":"feat/x","user_agent":"claude-cli/2.1.97"}}','01M86FYZ804HQY64MAXB5VKSZF',1,X'8500c9709d82b3b0d6edbb09ffc36ab0');
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
CREATE INDEX entry_by_time ON entry (started_at, seq);
CREATE INDEX entry_by_request ON entry (request_id) WHERE source = 'gateway' AND request_id <> '';
CREATE VIEW rollup AS
SELECT quarter, series.client, person, project, account, tenant, upstream, model, series.source, series.priced, calls,
    input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos,
    calls * (series.priced = 0) AS unpriced_calls
FROM quarter_sum JOIN series ON series.id = series JOIN tenant_series ON tenant_series.id = tenant_series;
CREATE VIEW day_rollup AS
SELECT day, client, person, project, account, upstream, model, source, priced, calls, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls
FROM day_sum JOIN series ON series.id = series;
CREATE VIEW tenant_day_rollup AS
SELECT day, client, tenant, source, priced, calls, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, web_searches, cost_nanos, calls * (priced = 0) AS unpriced_calls
FROM tenant_day_sum JOIN tenant_series ON tenant_series.id = tenant_series;
CREATE INDEX told_by_request ON told (request_id) WHERE request_id <> '';
CREATE INDEX repriced_by_entry ON repriced (seq, number);
CREATE VIEW counted AS
SELECT entry.seq, call_id, started_at, ended_at, client, person, project, tenant, session, agent, tags, class, model, max_tokens,
    stream, body_bytes, upstream, request_id, attempts, status, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, web_searches, batch, fast, us_only,
    coalesce(repriced.cost_nanos, entry.cost_nanos) AS cost_nanos,
    coalesce(repriced.price_id, entry.price_id) AS price_id,
    coalesce(repriced.estimated, entry.estimated) AS estimated,
    source, waited_ms, first_byte_ms, total_ms, cache, error, entry.chain, account
FROM entry LEFT JOIN repriced ON number = (SELECT max(number) FROM repriced AS later WHERE later.seq = entry.seq)
WHERE entry.seq NOT IN (SELECT seq FROM superseded);
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
CREATE INDEX bundle_row_by_day ON bundle_row (day);
COMMIT;
