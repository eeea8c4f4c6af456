"""The layers and nets of the zoo as ONNX models, compared with ONNX Runtime."""
