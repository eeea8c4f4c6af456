"""Spellings of nets, and what the reader of protobuf in C++ makes of them.

oracle/caffe-python oracle/spellings.py    prints name -> text as BVLC Caffe prints it, or null
"""

import json
import os
import subprocess
import tempfile

#: Bytes of a net, by what is special about them. Text stands for its bytes in Latin-1.
SPELLINGS = {
    "minus space": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:- 1}}",
    "minus newline": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:-\n1}}",
    "float f": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:1.5f}}",
    "float F": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:1F}}",
    "float .5": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:.5}}",
    "float 5.": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:5.}}",
    "float +1": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:+1}}",
    "float inf": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:inf}}",
    "float -inf": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:-inf}}",
    "float infinity": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:Infinity}}",
    "float nan": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:NaN}}",
    "float hex": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:0x10}}",
    "float oct": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:010}}",
    "float 08": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:08}}",
    "float 1e5": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:1E+5}}",
    "float 1e": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:1e}}",
    "float huge": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:1e60}}",
    "float bigint": "layer{type:'Power' power_param{shift:99999999999999999999999}}",
    "float str": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:'1'}}",
    "float true": "layer{name:'x' type:'Power' bottom:'d' top:'y' power_param{shift:true}}",
    "int hex": "layer{name:'x' type:'IP' inner_product_param{num_output:0x1F}}",
    "int oct": "layer{name:'x' type:'IP' inner_product_param{num_output:017}}",
    "int 08": "layer{name:'x' type:'IP' inner_product_param{num_output:08}}",
    "int float": "layer{name:'x' type:'IP' inner_product_param{num_output:5.0}}",
    "int - 1": "layer{name:'x' type:'IP' inner_product_param{axis:- 1}}",
    "int -0": "layer{name:'x' type:'IP' inner_product_param{num_output:-0}}",
    "uint neg": "layer{name:'x' type:'IP' inner_product_param{num_output:-1}}",
    "uint big": "layer{name:'x' type:'IP' inner_product_param{num_output:4294967296}}",
    "int true": "layer{name:'x' type:'IP' inner_product_param{axis:true}}",
    "bool 1": "layer{name:'x' type:'IP' inner_product_param{bias_term:1}}",
    "bool 0": "layer{name:'x' type:'IP' inner_product_param{bias_term:0}}",
    "bool 2": "layer{name:'x' type:'IP' inner_product_param{bias_term:2}}",
    "bool t": "layer{name:'x' type:'IP' inner_product_param{bias_term:t}}",
    "bool f": "layer{name:'x' type:'IP' inner_product_param{bias_term:f}}",
    "bool True": "layer{name:'x' type:'IP' inner_product_param{bias_term:True}}",
    "bool False": "layer{name:'x' type:'IP' inner_product_param{bias_term:False}}",
    "bool TRUE": "layer{name:'x' type:'IP' inner_product_param{bias_term:TRUE}}",
    "bool yes": "layer{name:'x' type:'IP' inner_product_param{bias_term:yes}}",
    "bool str": "layer{name:'x' type:'IP' inner_product_param{bias_term:'true'}}",
    "bool 0x1": "layer{name:'x' type:'IP' inner_product_param{bias_term:0x1}}",
    "bool 01": "layer{name:'x' type:'IP' inner_product_param{bias_term:01}}",
    "enum num": "layer{name:'x' type:'Pooling' pooling_param{pool:1}}",
    "enum bad num": "layer{name:'x' type:'Pooling' pooling_param{pool:17}}",
    "enum str": "layer{name:'x' type:'Pooling' pooling_param{pool:'AVE'}}",
    "enum lower": "layer{name:'x' type:'Pooling' pooling_param{pool:ave}}",
    "enum neg": "layer{name:'x' type:'Pooling' pooling_param{pool:-1}}",
    "enum hex": "layer{name:'x' type:'Pooling' pooling_param{pool:0x1}}",
    "str cat": "layer{name:'x' 'y' \"z\" type:'R'}",
    "str cat comment": "layer{name:'x' # hm\n 'y' type:'R'}",
    "str unquoted": "layer{name:x type:'R'}",
    "str num": "layer{name:5 type:'R'}",
    "str newline": "layer{name:'x\ny' type:'R'}",
    "str esc": "layer{name:'a\\n\\t\\x41\\101\\'\\\"\\\\\\?' type:'R'}",
    "str esc u": "layer{name:'\\u00e9' type:'R'}",
    "str esc U": "layer{name:'\\U0001F600' type:'R'}",
    "str esc bad": "layer{name:'\\q' type:'R'}",
    "str esc e9": "layer{name:'\\351' type:'R'}",
    "str x": "layer{name:'\\x4' type:'R'}",
    "str tab": "layer{name:'a\tb' type:'R'}",
    "str unterminated": "layer{name:'x type:'R'}",
    "str crlf": "layer{name:'x'\r\n type:'R'}\r\n",
    "str cr": "layer{name:'x'\r type:'R'}\r",
    "msg colon": "layer:{name:'x' type:'R'}",
    "msg angle": "layer<name:'x' type:'R'>",
    "msg angle mixed": "layer<name:'x' type:'R'}",
    "msg list": "layer:[{name:'x' type:'R'},{name:'y' type:'S'}]",
    "msg list no colon": "layer[{name:'x' type:'R'},{name:'y' type:'S'}]",
    "sep comma": "layer{name:'x',type:'R',}",
    "sep semicolon": "layer{name:'x';type:'R';};",
    "sep top comma": "layer{name:'x' type:'R'},layer{name:'y' type:'R'}",
    "sep double": "layer{name:'x',,type:'R'}",
    "sep comma semicolon": "layer{name:'x',;type:'R'}",
    "sep leading": ",layer{name:'x' type:'R'}",
    "list": "layer{name:'x' type:'R' bottom:['a','b']}",
    "list empty": "layer{name:'x' type:'R' bottom:[]}",
    "list trailing": "layer{name:'x' type:'R' bottom:['a',]}",
    "list cat": "layer{name:'x' type:'R' bottom:['a' 'b']}",
    "list on singular": "layer{name:['x'] type:'R'}",
    "list ints": "layer{name:'x' type:'R' input_param{shape{dim:[1,2,3]}}}",
    "list dims neg": "layer{name:'x' type:'R' input_param{shape{dim:[-1,- 2]}}}",
    "dup scalar": "layer{name:'x' name:'y' type:'R'}",
    "dup message": "layer{name:'x' type:'R' relu_param{engine:CAFFE} relu_param{negative_slope:1}}",
    "case field": "Layer{name:'x' type:'R'}",
    "case upper": "layer{NAME:'x' type:'R'}",
    "unknown": "layer{name:'x' type:'R' foo:1}",
    "any": "[type.googleapis.com/caffe.LayerParameter]{}",
    "extension": "[caffe.foo]:1 layer{name:'x'}",
    "no colon scalar": "layer{name 'x' type:'R'}",
    "adjacent": "layer{name:'x'type:'R'top:'a'bottom:'b'}",
    "adjacent num": "layer{name:'x' type:'R' inner_product_param{num_output:5axis:2}}",
    "comment slash": "// c\nlayer{name:'x' type:'R'}",
    "comment slashstar": "/* c */ layer{name:'x' type:'R'}",
    "comment hash end": "layer{name:'x' type:'R'} # end",
    "comment latin": "# café\nlayer{name:'x' type:'R'}",
    "nul": "layer{name:'x' type:'R'}\x00",
    "nul in": "layer{\x00name:'x' type:'R'}",
    "ctrl": "layer{\x01name:'x' type:'R'}",
    "ff": "layer{\x0cname:'x'\x0b type:'R'}",
    "nbsp latin": "layer{\xa0name:'x' type:'R'}",
    "bom": "ï»¿layer{name:'x' type:'R'}",
    "str latin": "layer{name:'café' type:'R'}",
    "str utf8": "layer{name:'cafÃ©' type:'R'}",
    "ident latin": "léyer{name:'x'}",
    "empty": "",
    "extra brace": "layer{name:'x' type:'R'}}",
    "missing brace": "layer{name:'x' type:'R'",
    "ident digits": "layer{name:'x' type:'R' 5:1}",
    "field number": "100{1:'x'}",
    "uint f": "layer{name:'x' type:'IP' inner_product_param{num_output:5f}}",
    "int plus": "layer{name:'x' type:'IP' inner_product_param{axis:+1}}",
    "int exp": "layer{name:'x' type:'IP' inner_product_param{num_output:1e1}}",
    "double neg": "layer{name:'x' type:'IP' inner_product_param{axis:--1}}",
    "minus comment": "layer{name:'x' type:'Power' power_param{shift:- # c\n 1}}",
    "neg inf sp": "layer{name:'x' type:'Power' power_param{shift:- inf}}",
    "neg nan": "layer{name:'x' type:'Power' power_param{shift:-nan}}",
    "float dots": "layer{name:'x' type:'Power' power_param{shift:1.2.3}}",
    "float 0f": "layer{name:'x' type:'Power' power_param{shift:0f}}",
    "float 1.f": "layer{name:'x' type:'Power' power_param{shift:1.f}}",
    "float 1e3f": "layer{name:'x' type:'Power' power_param{shift:1e3f}}",
    "float hexneg": "layer{name:'x' type:'Power' power_param{shift:-0x10}}",
    "float inff": "layer{name:'x' type:'Power' power_param{shift:inff}}",
    "msg sep": "layer{name:'x' type:'R'};layer{name:'y' type:'R'}",
    "colon space": "layer { name : 'x' type :'R' }",
    "utf16": "ÿþl\x00",
    "deep": "layer{name:'x' type:'R' relu_param{}relu_param<>}",
    "bool 00": "layer{name:'x' type:'IP' inner_product_param{bias_term:00}}",
    "bool -0": "layer{name:'x' type:'IP' inner_product_param{bias_term:-0}}",
    "int64": "layer{name:'x' input_param{shape{dim:9223372036854775807 dim:-9223372036854775808}}}",
    "int64 over": "layer{name:'x' input_param{shape{dim:9223372036854775808}}}",
    "int32 min": "layer{name:'x' inner_product_param{axis:-2147483648}}",
    "int32 over": "layer{name:'x' inner_product_param{axis:2147483648}}",
    "str quote adj": "layer{name:'x'\"y\" type:'R'}",
    "line cont": "layer{name:'x\\\ny'}",
    "octal 400": "layer{name:'\\400'}",
    "str nul": "layer{name:'a\\0b'}",
}
TOOL = "upgrade_net_proto_text"


def read(folder: str) -> dict:
    """Name of a spelling -> the net as BVLC Caffe prints it, None where it refuses the net."""
    nets = {}
    for name, text in SPELLINGS.items():
        spelled, printed = (os.path.join(folder, end) for end in ("spelled", "printed"))
        with open(spelled, "wb") as file:
            file.write(text.encode("latin-1"))
        result = subprocess.run([TOOL, spelled, printed], stderr=subprocess.DEVNULL)
        nets[name] = None
        if result.returncode == 0:
            with open(printed) as file:
                nets[name] = file.read()
    return nets


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(read(place)))
